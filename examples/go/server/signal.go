package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"
)

type object map[string]any

// A fault is the reason for which an upload failed, as the client gets it.
type fault struct{ code, text string }

func (f *fault) Error() string { return f.code + ": " + f.text }

// next reads a message: a signal, or else a chunk.
func (u *upload) next() (map[string]json.RawMessage, io.Reader, error) {
	deadline := time.Now().Add(messageTime)
	if u.deadline.Before(deadline) {
		deadline = u.deadline
	}
	u.ws.SetReadDeadline(deadline)
	if u.stopping.Err() != nil {
		return nil, nil, &fault{"shutting_down", "The server is stopping."}
	}
	// gorilla/websocket joins fragments, but cannot limit their number: only time limits empty ones.
	kind, reader, err := u.ws.NextReader()
	if err != nil || kind == websocket.BinaryMessage {
		return nil, reader, u.readFault(err)
	}
	text, err := io.ReadAll(io.LimitReader(reader, maxSignal+1))
	if err != nil {
		return nil, nil, u.readFault(err)
	}
	signal := parse(text)
	if len(text) > maxSignal || signal == nil {
		return nil, nil, &fault{"bad_message", fmt.Sprintf("A signal is no JSON object of at most %d bytes.", maxSignal)}
	}
	return signal, nil, nil
}

// readFault is the fault for an error while a message was read or written to the file.
func (u *upload) readFault(err error) error {
	var timeout net.Error
	switch {
	case !errors.As(err, &timeout) || !timeout.Timeout():
		return diskFault(err)
	case u.stopping.Err() != nil:
		return &fault{"shutting_down", "The server is stopping."}
	case u.deadline.Before(time.Now()) && u.file != nil:
		return &fault{"too_slow", fmt.Sprintf("The file came with less than %d bytes per second.", minRate)}
	}
	return &fault{"idle", "No message came in time."}
}

// parse returns the members of an object, or nil. A map keeps keys apart that differ in case, unlike a struct.
func parse(text []byte) map[string]json.RawMessage {
	if !utf8.Valid(text) || !json.Valid(text) { // gorilla/websocket does not check for UTF-8 (S6.7)
		return nil
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	if token, _ := decoder.Token(); token != json.Delim('{') {
		return nil
	}
	signal := map[string]json.RawMessage{}
	for decoder.More() {
		var value json.RawMessage
		token, _ := decoder.Token()
		key, _ := token.(string)
		if _, double := signal[key]; double || decoder.Decode(&value) != nil {
			return nil // S1.8
		}
		signal[key] = value
	}
	return signal
}

func isTrue(value json.RawMessage) bool {
	return string(value) == "true" || string(value) == "1" // S1.3
}
