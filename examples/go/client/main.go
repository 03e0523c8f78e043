// Command galileo-client uploads a file over the GalileoSend protocol (docs/protocol.md), and, with -resume, continues
// an interrupted upload on another connection (section 8).
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	mathrand "math/rand"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

const (
	chunkSize   = 250_000          // for a `ready` without `chunksize` (C3.3)
	maxSignal   = 64 << 10         // bytes (C1.11)
	frameSize   = 256 << 10        // gorilla/websocket splits larger chunks into frames of this size
	maxAttempts = 5                // with -resume, otherwise 1
	firstWait   = time.Second / 2  // before the second attempt; doubled each time
	longestWait = time.Minute      // whatever the server asks for
	connectTime = 30 * time.Second // for the TCP connection and the handshake
	writeTime   = time.Minute      // for each frame
	closeTime   = time.Second      // for the server's Close frame: old servers may send none (C11.2)
)

type object map[string]any

// A failure is the reason for which an attempt did not succeed.
type failure struct {
	text  string
	again bool          // another attempt may succeed, and is allowed
	wait  time.Duration // before the next attempt, if the server has said it
}

func (f *failure) Error() string { return f.text }

// An upload of one file, over all attempts.
type upload struct {
	url, token, key string // without a key, nothing is resumed
	name            string
	content         *content
	kept            bool // the server has said once that the upload can be resumed
	last            bool // this is the last attempt
	unknown         bool // `finished` was sent, and not answered: the file may be stored
}

// One connection of an upload.
type connection struct {
	*upload
	ws       *websocket.Conn
	ctx      context.Context
	answered bool // the server's first signal has come
	agreed   bool // it says that the upload can be resumed
	placed   bool // the first `ready` has come, and with it the offset
	finished bool
}

// run makes as many attempts as are allowed, and returns the name under which the file is stored.
func (u *upload) run(ctx context.Context) (string, error) {
	for attempt, pause := 1, firstWait; ; attempt, pause = attempt+1, 2*pause {
		u.last = u.key == "" || attempt == maxAttempts
		name, err := u.attempt(ctx)
		var f *failure
		if err == nil || u.last || !errors.As(err, &f) || !f.again {
			return name, err
		}
		wait := pause - time.Duration(mathrand.Int63n(int64(pause/2)))
		if wait < f.wait {
			wait = f.wait
		}
		if wait > longestWait {
			wait = longestWait
		}
		fmt.Fprintf(os.Stderr, "galileo-client: %v; trying again in %v\n", err, wait.Round(time.Millisecond))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return "", errors.New("interrupted")
		}
	}
}

// attempt uploads the file over one connection.
func (u *upload) attempt(ctx context.Context) (string, error) {
	ws, err := u.connect(ctx)
	if err != nil {
		return "", err
	}
	defer ws.Close()
	c := &connection{upload: u, ws: ws, ctx: ctx}
	ended, end := context.WithCancel(ctx)
	defer end()
	go func() {
		<-ended.Done()
		ws.SetReadDeadline(time.Now()) // wakes read
	}()
	name, err := c.transfer()
	if ctx.Err() != nil && err != nil {
		err = errors.New("interrupted")
		c.abandon() // the key is not known to a later run (C8.10)
	}
	// For a frame that was not valid, gorilla/websocket has sent a Close frame already.
	payload := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	ws.WriteControl(websocket.CloseMessage, payload, time.Now().Add(closeTime)) // C4.6
	ws.SetReadDeadline(time.Now().Add(closeTime))
	for closing := error(nil); closing == nil; {
		_, _, closing = ws.NextReader()
	}
	return name, err
}

// transfer exchanges signals and chunks up to success or failure. It answers each `ready` when it reads it, so that
// the credits wait in the buffers of the connection (C3.5).
func (c *connection) transfer() (string, error) {
	metadata := object{"name": c.name, "size": c.content.size}
	if c.key != "" {
		metadata["can"], metadata["upload"], metadata["modified"] = []string{"resume"}, c.key, c.content.modified
	}
	broken := c.send(metadata)
	for {
		signal, err := c.read(broken != nil)
		if err != nil {
			return "", err
		}
		bad, ready, done := truthy(signal["error"]), truthy(signal["ready"]), truthy(signal["close"]) // C1.5
		if !bad && !ready && !done {
			continue // C1.7
		}
		if !c.answered {
			c.agree(signal["can"])
		}
		if ready && !bad && !c.placed {
			if err := c.place(signal); err != nil {
				return "", err
			}
		}
		switch {
		case bad && !truthy(signal["fatal"]):
			fmt.Fprintf(os.Stderr, "galileo-client: warning: %s\n", printable(signal["error"]))
		case bad:
			err := c.fault(signal)
			c.unknown, c.agreed = false, false // nothing more is sent (C5.1)
			return "", err
		case ready && broken == nil:
			if broken, err = c.answer(signal["chunksize"]); err != nil {
				return "", err
			}
		case ready: // nothing more can be sent, but an error with the reason may follow (C5.6)
		case c.finished || c.agreed && !c.placed: // C4.4, C8.6
			c.unknown = false
			name := c.name
			if truthy(signal["name"]) {
				name = printable(signal["name"])
			}
			return name, nil
		default:
			return "", errors.New("the server says `close` before the end of the file") // C4.5
		}
	}
}

// agree looks at the extensions in the server's first signal, which may also be a warning (C8.1).
func (c *connection) agree(can json.RawMessage) {
	var extensions []any
	json.Unmarshal(can, &extensions) // another type is as good as none
	for _, extension := range extensions {
		c.agreed = c.agreed || extension == "resume" && c.key != ""
	}
	c.answered = true
}

// place goes to the place in the file that the first `ready` asks for.
func (c *connection) place(signal map[string]json.RawMessage) error {
	c.placed = true
	if !c.agreed && c.kept && (c.unknown || !c.last) {
		// Perhaps another server behind the same balancer (C8.9). This one would store the file a second time if it is
		// stored already.
		return &failure{text: "the server does not continue the upload", again: true}
	}
	if !c.agreed {
		return c.content.rewind(0)
	}
	c.kept, c.unknown = true, false // the file is not stored, otherwise the answer were `close`
	offset, err := strconv.ParseInt(string(signal["offset"]), 10, 64)
	if err != nil || offset < 0 || offset > c.content.size {
		return errors.New("the server states no valid offset") // C8.4
	}
	if err := c.content.rewind(offset); err != nil {
		return err
	}
	var check struct{ Type, Value string }
	json.Unmarshal(signal["check"], &check)                                                         // without it, nothing is compared
	if strings.EqualFold(check.Type, "sha1") && !strings.EqualFold(check.Value, c.content.hash()) { // C8.5
		c.abandon()
		c.key, c.kept, c.unknown = newKey(), false, false
		return &failure{text: "the server has other data", again: true}
	}
	return nil
}

// answer sends what a `ready` asks for. The first result is an error of the connection, the second one of anything else.
func (c *connection) answer(limit json.RawMessage) (broken, err error) {
	if c.finished {
		return nil, nil // C4.3
	}
	if left := c.content.size - c.content.offset; left > 0 {
		length, _ := strconv.ParseInt(string(limit), 10, 64) // 0 if it is no integer, the maximum if it is too large
		if length <= 0 {
			length = chunkSize // C3.3
		}
		if length > left {
			length = left
		}
		return c.content.send(c.ws, length)
	}
	if err := c.content.unchanged(); err != nil {
		c.abandon()
		return nil, err
	}
	c.finished, c.unknown = true, true
	return c.send(object{"finished": true, "hash": object{"type": "sha1", "value": c.content.hash()}}), nil
}

// fault is the failure that a fatal error means.
func (c *connection) fault(signal map[string]json.RawMessage) *failure {
	f := &failure{text: printable(signal["error"])}
	switch code := printable(signal["code"]); code {
	case "busy", "shutting_down": // C5.5
		f.again = true
	case "idle", "too_slow", "storage_failed": // C8.8
		f.again = c.agreed
	}
	return f
}

// abandon tells the server to discard what it keeps.
func (c *connection) abandon() {
	if c.agreed && !c.finished {
		c.send(object{"abandon": true})
	}
}

func newKey() string {
	key := make([]byte, 16)
	if _, err := rand.Read(key); err != nil {
		panic(err) // the system has no random numbers
	}
	return hex.EncodeToString(key)
}

func main() {
	token := flag.String("token", "", "credential, if the server demands one")
	resume := flag.Bool("resume", false, "try again after a lost connection, and continue where the server can")
	flag.Parse()
	mathrand.Seed(time.Now().UnixNano())
	address, err := url.Parse(flag.Arg(0))
	if flag.NArg() != 2 || err != nil || address.Scheme != "ws" && address.Scheme != "wss" {
		fmt.Fprintln(os.Stderr, "usage: galileo-client [-token TOKEN] [-resume] ws://HOST:PORT/upload FILE")
		os.Exit(2)
	}
	content, err := open(flag.Arg(1))
	if err != nil {
		fmt.Fprintf(os.Stderr, "galileo-client: %v\n", err)
		os.Exit(1)
	}
	u := &upload{url: flag.Arg(0), token: *token, name: filepath.Base(flag.Arg(1)), content: content}
	if *resume {
		u.key = newKey()
	}
	ctx, _ := signal.NotifyContext(context.Background(), os.Interrupt)
	stored, err := u.run(ctx)
	if err != nil && u.unknown {
		err = fmt.Errorf("%w; the file may be stored nevertheless", err)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "galileo-client: %s: %v\n", u.name, err)
		os.Exit(1)
	}
	fmt.Println("stored as", stored)
}
