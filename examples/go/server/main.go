// Command galileo-server stores the files that arrive over the GalileoSend protocol (docs/protocol.md). It is an
// example of a classic server: it knows no extension, and sends none of their keys (S8.2).
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/gorilla/websocket"
)

const (
	chunkSize   = 250_000          // what clients send that do not read `chunksize` (S11.2)
	maxCredits  = 8                // sent in advance, so that the line is not idle between two chunks
	maxSignal   = 32 << 10         // bytes; S1.9 demands half of it
	maxEmpty    = 64               // empty chunks in an upload (S11.3, S11.4)
	maxUploads  = 64               // connections at once
	minRate     = 1024             // bytes per second, over the whole upload
	startTime   = 10 * time.Second // for the head of the request, and again for the metadata
	messageTime = 2 * time.Minute  // for each further message, with the wait for it
	pingTime    = 20 * time.Second // between Pings while a file is verified and stored (S4.17)
	closeTime   = 5 * time.Second  // for the client to read the answer, and to close
)

type server struct {
	directory string
	maxSize   int64
	slots     chan struct{}   // has one element for each connection
	stopping  context.Context // done once the program is told to end
}

// One upload, and its connection. Only Pings and drain run beside the goroutine of ServeHTTP.
type upload struct {
	*server
	ws                      *websocket.Conn
	name, safeName          string  // the client's, and what is left of it
	size, received, granted int64   // in bytes; granted is the sum of credits
	credits                 []int64 // the sizes of the unanswered credits, in their order
	empty                   int
	deadline                time.Time  // of the metadata, then of the whole upload
	file                    *os.File   // nil before the metadata
	drained                 chan error // gets the reason why nothing more can be read; nil while messages count
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		w.Header().Set("Retry-After", "5")
		http.Error(w, "Too many uploads.", http.StatusServiceUnavailable)
		return
	}
	// The zero Upgrader selects no subprotocol and no extension, and refuses pages of other origins.
	ws, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
	if err != nil {
		return // answered already
	}
	defer ws.Close()
	waking, done := context.WithCancel(s.stopping)
	defer done()
	go func() {
		<-waking.Done()
		ws.SetReadDeadline(time.Now()) // the reader sees then that the program stops
	}()
	u := &upload{server: s, ws: ws, deadline: time.Now().Add(startTime)}
	stored, err := u.run()
	log.Printf("%q: %d of %d bytes, stored as %q: %v", u.name, u.received, u.size, stored, err)
	code, reason, answer := websocket.CloseNormalClosure, "stored", object{"close": true}
	if stored != u.name {
		answer["name"] = stored // S4.11
	}
	if err != nil {
		f := &fault{"bad_message", "The messages cannot be read."}
		errors.As(err, &f)
		code, reason, answer = websocket.ClosePolicyViolation, f.code, object{"error": f.text, "fatal": true, "code": f.code}
	}
	// This fails if the connection is lost, or after an invalid frame: then gorilla/websocket has sent a Close frame
	// already, and no error can be sent before it (S6.9).
	u.send(answer)
	if u.drained == nil {
		u.drain()
	}
	ws.SetReadDeadline(time.Now().Add(closeTime))
	var closed *websocket.CloseError
	if errors.As(<-u.drained, &closed) {
		return // gorilla/websocket has answered the client's Close frame (S6.8)
	}
	ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason), time.Now().Add(closeTime))
	// gorilla/websocket reads no message after a timeout or an invalid frame. But bytes that nobody has read make the
	// kernel reset the connection, and the client may lose the answer (S5.6).
	ws.UnderlyingConn().SetReadDeadline(time.Now().Add(time.Second))
	io.Copy(io.Discard, ws.UnderlyingConn())
}

// drain discards all messages in the background, up to the Close frame, or a deadline. It also answers Pings.
func (u *upload) drain() {
	u.drained = make(chan error, 1)
	u.ws.SetReadDeadline(time.Time{})
	go func() {
		var err error
		for err == nil {
			_, _, err = u.ws.NextReader()
		}
		u.drained <- err
	}()
}

// run receives one file, and returns the name under which it is stored.
func (u *upload) run() (string, error) {
	defer func() {
		if u.file != nil {
			u.file.Close()
			os.Remove(u.file.Name()) // a stored file has a second name
		}
	}()
	for {
		signal, chunk, err := u.next()
		begun, finished := u.file != nil, isTrue(signal["finished"])
		switch {
		case err != nil:
		case begun && finished:
			return u.finish(signal["hash"])
		case finished || !begun && chunk != nil:
			err = &fault{"bad_message", "The metadata have to be first."} // S2.4
		case chunk != nil:
			err = u.store(chunk)
		case signal["name"] == nil && signal["size"] == nil: // has no meaning (S1.7)
		case begun:
			err = &fault{"bad_message", "Only one file is taken on a connection."} // S2.3
		default:
			err = u.begin(signal)
		}
		if err != nil {
			return "", err
		}
	}
}

// begin takes the metadata. It looks at no key but these two: all others are for servers with extensions (S1.2, S2.6).
func (u *upload) begin(signal map[string]json.RawMessage) (err error) {
	if !bytes.HasPrefix(signal["name"], []byte(`"`)) || json.Unmarshal(signal["name"], &u.name) != nil {
		return &fault{"bad_metadata", "The name is not a string."}
	}
	// Not by way of a floating-point number, which would be rounded (S7.6).
	if u.size, err = strconv.ParseInt(string(signal["size"]), 10, 64); err != nil || u.size < 0 {
		return &fault{"bad_metadata", "The size is not an integer from 0 to 2^63-1."}
	}
	if u.size > u.maxSize {
		return &fault{"too_large", fmt.Sprintf("The file is too large. At most %d bytes are taken.", u.maxSize)}
	}
	if u.safeName, err = safeName(u.name); err != nil {
		return err
	}
	if u.file, err = os.CreateTemp(filepath.Join(u.directory, incoming), "*"); err != nil {
		return diskFault(err)
	}
	u.deadline = time.Unix(time.Now().Add(messageTime).Unix()+u.size/minRate, 0)
	return u.grant()
}

// grant sends as many credits as are due. Each is for a whole chunk, or, if there is no other, for the rest of the file.
// So a client that sends chunks of a fixed size of up to chunkSize never exceeds its credit.
func (u *upload) grant() error {
	if u.received == u.size {
		return u.send(object{"ready": true}) // for `finished`, or one more empty chunk (S4.1, S11.1)
	}
	for len(u.credits) < maxCredits {
		credit := u.size - u.received - u.granted // S3.1
		if credit >= chunkSize {
			credit = chunkSize
		} else if len(u.credits) > 0 {
			return nil
		}
		u.credits = append(u.credits, credit)
		u.granted += credit
		if err := u.send(object{"ready": true, "chunksize": credit}); err != nil {
			return err
		}
	}
	return nil
}

// store writes a chunk, which uses up the oldest credit, to the file.
func (u *upload) store(chunk io.Reader) error {
	credit := int64(0)
	if len(u.credits) > 0 {
		credit, u.credits = u.credits[0], u.credits[1:]
		u.granted -= credit
	}
	count, err := io.Copy(u.file, io.LimitReader(chunk, credit+1))
	u.received += count
	if count == 0 {
		u.empty++
	}
	switch {
	case err != nil:
		return u.readFault(err)
	case u.received > u.size:
		return &fault{"size_mismatch", fmt.Sprintf("There are more than %d bytes.", u.size)}
	case count > credit:
		return &fault{"bad_chunk", fmt.Sprintf("A chunk has more than %d bytes.", credit)}
	case u.empty > maxEmpty:
		return &fault{"bad_chunk", fmt.Sprintf("More than %d chunks are empty.", maxEmpty)}
	}
	return u.grant()
}

// finish verifies and publishes the file. Meanwhile messages are discarded (S4.10), and a lost connection changes
// nothing (S4.13).
func (u *upload) finish(hash json.RawMessage) (string, error) {
	if u.received < u.size {
		return "", &fault{"size_mismatch", fmt.Sprintf("Expected: %d bytes. Got: %d bytes.", u.size, u.received)}
	}
	u.drain()
	ticker, done := time.NewTicker(pingTime), make(chan struct{})
	defer close(done)
	defer ticker.Stop()
	go func() {
		for {
			select {
			case <-ticker.C:
				u.ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(closeTime))
			case <-done:
				return
			}
		}
	}()
	if err := verify(u.file, hash); err != nil {
		return "", err
	}
	return publish(u.file, u.directory, u.safeName)
}

func (u *upload) send(signal object) error {
	u.ws.SetWriteDeadline(time.Now().Add(messageTime))
	return u.ws.WriteJSON(signal)
}

func main() {
	listen := flag.String("listen", "127.0.0.1:8750", "`address` to listen on")
	maxSize := flag.Int64("max", 10<<30, "the largest file that is taken, in `bytes`")
	flag.Parse()
	if flag.NArg() != 1 {
		log.Fatal("usage: galileo-server [-listen ADDRESS] [-max BYTES] DIRECTORY")
	}
	unlock, err := prepare(flag.Arg(0))
	if err != nil {
		log.Fatal(err)
	}
	defer unlock()
	stopping, again := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	s := &server{flag.Arg(0), *maxSize, make(chan struct{}, maxUploads), stopping}
	web := &http.Server{Addr: *listen, Handler: s, ReadHeaderTimeout: startTime, MaxHeaderBytes: 16 << 10}
	go func() {
		<-stopping.Done()
		again() // a second signal ends the program at once
		web.Close()
	}()
	if err := web.ListenAndServe(); err != http.ErrServerClosed {
		log.Fatal(err)
	}
	for i := 0; i < maxUploads; i++ {
		s.slots <- struct{}{} // waits for the uploads that are being stored
	}
}
