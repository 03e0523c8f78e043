package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"
)

// connect makes the connection and the handshake (C6.1, C6.2). It offers no extension of WebSocket (C6.10).
func (u *upload) connect(ctx context.Context) (*websocket.Conn, error) {
	header := http.Header{}
	if u.token != "" {
		header.Set("Authorization", "Bearer "+u.token)
	}
	dialer := websocket.Dialer{HandshakeTimeout: connectTime, WriteBufferSize: frameSize}
	ws, response, err := dialer.DialContext(ctx, u.url, header)
	switch {
	case err == nil && response.Header.Get("Sec-WebSocket-Extensions")+response.Header.Get("Sec-WebSocket-Protocol") != "":
		ws.Close() // gorilla/websocket takes them, although it did not offer any
		return nil, errors.New("the server selects an extension or a subprotocol that was not offered")
	case err == nil:
		return ws, nil
	case response == nil:
		return nil, &failure{text: fmt.Sprintf("no connection: %v", err), again: ctx.Err() == nil}
	}
	f := &failure{text: fmt.Sprintf("the server refuses the connection: %q", response.Status)}
	switch response.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		seconds, _ := strconv.ParseUint(response.Header.Get("Retry-After"), 10, 16)
		f.again, f.wait = true, time.Duration(seconds)*time.Second
	}
	return nil, f
}

func (c *connection) send(signal object) error {
	c.ws.SetWriteDeadline(time.Now().Add(writeTime))
	return c.ws.WriteJSON(signal)
}

// read waits for a signal: for a minute, and one second for each 20 MB, anew after each Ping (C4.8). If the connection
// is broken for writing, only what has arrived is of interest (C5.6).
func (c *connection) read(broken bool) (map[string]json.RawMessage, error) {
	patience := time.Minute + time.Duration(c.content.size/20_000_000)*time.Second
	if broken {
		patience = closeTime
	}
	c.ws.SetReadLimit(maxSignal)
	c.ws.SetPingHandler(func(payload string) error {
		c.ws.SetReadDeadline(time.Now().Add(patience))
		err := c.ws.WriteControl(websocket.PongMessage, []byte(payload), time.Now().Add(writeTime))
		if broken {
			return nil // what has arrived is read nevertheless
		}
		return err
	})
	c.ws.SetReadDeadline(time.Now().Add(patience))
	if err := c.ctx.Err(); err != nil {
		return nil, err
	}
	kind, reader, err := c.ws.NextReader()
	var text []byte
	if err == nil && kind == websocket.TextMessage {
		text, err = io.ReadAll(reader)
	}
	if err != nil { // a lost connection, a Close frame, or a frame that is not valid (C6.6, C6.7)
		var closed *websocket.CloseError
		var network net.Error
		lost := errors.As(err, &closed) || errors.As(err, &network) || errors.Is(err, io.EOF)
		return nil, &failure{text: fmt.Sprintf("the connection ended: %v", err), again: lost && (!c.finished || c.agreed)}
	}
	var signal map[string]json.RawMessage // not a struct, for which encoding/json would ignore the case of keys
	// gorilla/websocket does not check for UTF-8. The word null is valid JSON, but leaves the map nil.
	if !utf8.Valid(text) || json.Unmarshal(text, &signal) != nil || signal == nil {
		return nil, errors.New("the server sends a message that is not a JSON object") // C1.4, C1.10
	}
	return signal, nil
}

// truthy is what JavaScript takes for true (C1.6). An absent value is not.
func truthy(value json.RawMessage) bool {
	switch string(value) {
	case "", "false", "null", `""`:
		return false
	}
	number, err := strconv.ParseFloat(string(value), 64)
	return err != nil || number != 0
}

// printable makes one line of a value that a stranger has sent.
func printable(value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) != nil {
		text = string(value) // C5.3
	}
	return strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}
