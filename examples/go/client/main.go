// Command galileo-client uploads a file over the GalileoSend protocol (docs/protocol.md). If the connection is lost, it
// connects again, and continues the upload where the server can (section 8).
package main

import (
	"crypto/rand"
	"crypto/sha1"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"
)

const (
	chunkSize   = 250_000     // for a `ready` without `chunksize` (C3.3)
	maxAttempts = 5           // connections for one upload
	minRate     = 10_000      // bytes per second: a slower connection counts as lost
	patience    = time.Minute // for the handshake, each write, and each signal (C4.8)
	closeTime   = time.Second // for the server's Close frame: old servers send none (C11.2)
)

type (
	object    map[string]any
	signal    map[string]json.RawMessage // no struct, for which encoding/json would ignore the case of keys
	transient struct{ error }            // permits another attempt
)

// An upload of one file, over all attempts.
type upload struct {
	url, name string
	key       [16]byte // random (C8.2)
	file      *os.File
	size      int64     // in bytes
	modified  time.Time // tells with the size whether the file was changed
	kept      bool      // a server has said that it can be resumed
	unknown   bool      // `finished` was sent, and not answered: the file may be stored
}

// One connection of an upload.
type connection struct {
	*upload
	ws       *websocket.Conn
	offset   int64     // of the next byte to send
	sum      hash.Hash // of all bytes below the offset
	answered bool      // the first signal has come
	agreed   bool      // it says that the upload can be resumed
	placed   bool      // the first `ready` has come
	finished bool
	broken   bool // nothing more can be sent, but an error with the reason may have arrived (C5.6)
}

// run makes as many attempts as are needed and allowed.
func (u *upload) run() error {
	for attempt, wait := 1, time.Second/2; ; attempt, wait = attempt+1, 2*wait {
		err := u.attempt()
		if _, again := err.(transient); !again || attempt == maxAttempts {
			return err
		}
		fmt.Fprintf(os.Stderr, "galileo-client: %v; trying again in %v\n", err, wait)
		time.Sleep(wait)
	}
}

// attempt uploads the file over one connection.
func (u *upload) attempt() error {
	dialer := websocket.Dialer{HandshakeTimeout: patience, WriteBufferSize: 256 << 10} // bytes in a frame
	ws, response, err := dialer.Dial(u.url, nil)                                       // offers no extension (C6.10)
	if err != nil && response != nil {
		return fmt.Errorf("%w: %q", err, response.Status) // C6.2
	} else if err != nil {
		return transient{err}
	}
	defer ws.Close()
	if response.Header.Get("Sec-WebSocket-Extensions")+response.Header.Get("Sec-WebSocket-Protocol") != "" {
		return errors.New("the server selects an extension or a subprotocol that was not offered")
	}
	c := &connection{upload: u, ws: ws, sum: sha1.New()}
	err = c.transfer()
	// This has no effect after an invalid frame, for which gorilla/websocket has sent a Close frame already (C4.6).
	ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""), time.Now().Add(closeTime))
	ws.SetReadDeadline(time.Now().Add(closeTime))
	for closing := error(nil); closing == nil; {
		_, _, closing = ws.NextReader()
	}
	return err
}

// transfer exchanges signals and chunks until success or failure. It answers each `ready` when it reads it, so that
// further credits wait in the buffers of the connection (C3.5).
func (c *connection) transfer() error {
	c.ws.SetReadLimit(64 << 10) // C1.11
	pong := c.ws.PingHandler()
	c.ws.SetPingHandler(func(payload string) error {
		c.beginWait()
		pong(payload) // if this fails, so does the next write
		return nil
	})
	c.send(object{"name": c.name, "size": c.size, "can": []string{"resume"}, "upload": fmt.Sprintf("%x", c.key)})
	for {
		s, err := c.read()
		if err != nil {
			return err
		}
		isError, isReady, isClose := truthy(s["error"]), truthy(s["ready"]), truthy(s["close"])
		if !c.answered && (isError || isReady || isClose) {
			c.answered = true
			var extensions []any
			json.Unmarshal(s["can"], &extensions) // a value of another type is as good as none
			for _, extension := range extensions {
				c.agreed = c.agreed || extension == "resume" // C8.1
			}
		}
		switch { // in this order (C1.5); any other signal is ignored (C1.7)
		case isError && truthy(s["fatal"]):
			c.unknown = c.unknown && !c.finished
			again := map[string]bool{"busy": true, "shutting_down": true, // C5.5
				"idle": c.agreed, "too_slow": c.agreed, "storage_failed": c.agreed} // C8.8
			err := fmt.Errorf("the server says: %q", text(s["error"]))
			if again[text(s["code"])] {
				err = transient{err}
			}
			return err
		case isError:
			fmt.Fprintf(os.Stderr, "galileo-client: warning: %q\n", text(s["error"])) // C5.2
		case isReady:
			if err := c.answer(s); err != nil {
				return err
			}
		case isClose && (c.finished || c.agreed && !c.placed): // C4.4, C8.6
			if s["name"] != nil {
				c.name = text(s["name"])
			}
			return nil
		case isClose:
			return errors.New("the server sends `close` before the end of the file") // C4.5
		}
	}
}

// beginWait sets the time until which a signal or a Ping has to arrive (C4.8).
func (c *connection) beginWait() {
	wait := patience + time.Duration(c.size/20_000_000)*time.Second
	if c.broken {
		wait = closeTime // only for what has arrived already
	}
	c.ws.SetReadDeadline(time.Now().Add(wait))
}

func (c *connection) read() (signal, error) {
	c.beginWait()
	kind, text, err := c.ws.ReadMessage()
	if err != nil { // a lost connection, a Close frame (C6.7), or an invalid frame (C6.6), which is no reason to try again
		var closed *websocket.CloseError
		var network net.Error
		err = fmt.Errorf("the connection ended: %w", err)
		if (errors.As(err, &closed) || errors.As(err, &network)) && (c.agreed || !c.finished) {
			err = transient{err}
		}
		return nil, err
	}
	var s signal
	// gorilla/websocket does not check for UTF-8. A JSON null leaves the map nil.
	if kind != websocket.TextMessage || !utf8.Valid(text) || json.Unmarshal(text, &s) != nil || s == nil {
		return nil, errors.New("the server sends a message that is no JSON object") // C1.4, C1.10
	}
	return s, nil
}

// answer answers a `ready`: with a chunk, or behind the last byte with `finished` (C3.1, C4.1).
func (c *connection) answer(s signal) error {
	if !c.placed {
		c.placed = true
		if err := c.place(s); err != nil {
			return err
		}
	}
	if c.finished || c.broken {
		return nil // C4.3
	}
	if left := c.size - c.offset; left > 0 {
		length, _ := strconv.ParseInt(string(s["chunksize"]), 10, 64) // 0 if it is no integer
		if length <= 0 {
			length = chunkSize
		}
		if length > left {
			length = left
		}
		return c.sendChunk(length)
	}
	if info, err := c.file.Stat(); err != nil || info.Size() != c.size || info.ModTime() != c.modified {
		return errors.New("the file was changed while it was sent")
	}
	c.finished, c.unknown = true, true
	c.send(object{"finished": true, "hash": object{"type": "sha1", "value": fmt.Sprintf("%x", c.sum.Sum(nil))}})
	return nil
}

// place goes to the place in the file that the first `ready` asks for (C8.3). It hashes what is before it again. If that
// takes long, keep states of the hash instead.
func (c *connection) place(s signal) (err error) {
	if !c.agreed && c.kept {
		return transient{errors.New("the server does not continue the upload")} // perhaps another one does (C8.9)
	}
	var check struct{ Type, Value string }
	if c.agreed {
		c.offset, err = strconv.ParseInt(string(s["offset"]), 10, 64)
		if err != nil || c.offset < 0 || c.offset > c.size {
			return errors.New("the server sends no valid offset") // C8.4
		}
		c.kept, c.unknown = true, false // the file is not stored: otherwise this were a `close`
		json.Unmarshal(s["check"], &check)
	}
	if _, err = io.Copy(c.sum, io.NewSectionReader(c.file, 0, c.offset)); err != nil {
		return fmt.Errorf("the file cannot be read: %w", err)
	}
	if strings.EqualFold(check.Type, "sha1") && !strings.EqualFold(check.Value, fmt.Sprintf("%x", c.sum.Sum(nil))) {
		c.send(object{"abandon": true}) // C8.5
		rand.Read(c.key[:])
		c.kept = false
		return transient{errors.New("the server has other data")}
	}
	return nil
}

// sendChunk sends the next bytes of the file as one message. The result is an error of the file.
func (c *connection) sendChunk(length int64) error {
	c.ws.SetWriteDeadline(time.Now().Add(patience + time.Duration(length/minRate)*time.Second))
	message, err := c.ws.NextWriter(websocket.BinaryMessage)
	if err == nil {
		_, err = io.CopyN(io.MultiWriter(message, c.sum), io.NewSectionReader(c.file, c.offset, length), length)
	}
	var unreadable *fs.PathError
	if err == io.EOF || errors.As(err, &unreadable) {
		return fmt.Errorf("the file cannot be read: %w", err)
	}
	if err == nil {
		err = message.Close()
	}
	c.broken, c.offset = err != nil, c.offset+length
	return nil
}

func (c *connection) send(s object) {
	c.ws.SetWriteDeadline(time.Now().Add(patience))
	c.broken = c.ws.WriteJSON(s) != nil
}

// truthy is what JavaScript takes for true (C1.3, C1.6). An absent value is not.
func truthy(value json.RawMessage) bool {
	var v any
	err := json.Unmarshal(value, &v) // fails for numbers that are too large
	return value != nil && (err != nil || v != nil && v != false && v != 0.0 && v != "")
}

// text is what a value says, also one that is no string (C5.3).
func text(value json.RawMessage) (text string) {
	if json.Unmarshal(value, &text) != nil {
		text = string(value)
	}
	return text
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: galileo-client ws://HOST:PORT/upload FILE")
		os.Exit(2)
	}
	file, err := os.Open(os.Args[2])
	exitOn(err)
	info, err := file.Stat()
	exitOn(err)
	if !info.Mode().IsRegular() {
		exitOn(fmt.Errorf("%q is no regular file", os.Args[2]))
	}
	u := &upload{url: os.Args[1], name: info.Name(), file: file, size: info.Size(), modified: info.ModTime()}
	rand.Read(u.key[:]) // does not fail on Linux
	if err = u.run(); err != nil && u.unknown {
		err = fmt.Errorf("%w; the file may be stored nevertheless", err)
	}
	exitOn(err)
	fmt.Printf("stored as %q\n", u.name)
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "galileo-client: %v\n", err)
		os.Exit(1)
	}
}
