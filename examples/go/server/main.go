// Command galileo-server stores the files that arrive over the GalileoSend protocol (docs/protocol.md). It is classic: it
// knows no extension, and looks at none of their keys (S8.2).
package main

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/gorilla/websocket"
)

const (
	chunkSize   = 250_000         // what clients send that do not read `chunksize` (S11.2); the limit of signals too
	maxCredits  = 8               // sent in advance, so that the line is not idle between two chunks
	messageTime = time.Minute     // for each message, with the wait for it
	closeTime   = 5 * time.Second // for the client to read the answer, and to close
)

type object map[string]any

// A fault is the reason for which an upload failed, as the client gets it.
type fault struct{ code, text string }

func (f *fault) Error() string { return f.code + ": " + f.text }

type server struct {
	directory string
	stopping  context.Context // done once the program is told to end
	running   sync.WaitGroup
}

// One upload, and its connection.
type upload struct {
	*server
	ws             *websocket.Conn
	name, safeName string   // the client's, and what is left of it
	file           *os.File // nil before the metadata
	hashes         map[string]hash.Hash
	size, received int64 // bytes
	credits        int64 // unanswered ones
	empty          int   // chunks
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.running.Add(1)
	defer s.running.Done()
	// The zero Upgrader selects no subprotocol and no extension, and refuses pages of other origins.
	ws, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
	if err != nil {
		return // answered already
	}
	defer ws.Close()
	ended, end := context.WithCancel(s.stopping)
	defer end()
	go func() {
		for ended.Err() == nil {
			select {
			case <-time.After(20 * time.Second): // S4.17
				ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(closeTime))
			case <-ended.Done():
				ws.SetReadDeadline(time.Now()) // wakes next, which sees whether the program stops
			}
		}
	}()
	u := &upload{server: s, ws: ws, hashes: map[string]hash.Hash{
		"sha1": sha1.New(), "sha256": sha256.New(), "sha512": sha512.New()}} // the library has no blake2b (S4.15)
	stored, err := u.receive()
	log.Printf("%q: %d of %d bytes, stored as %q: %v", u.name, u.received, u.size, stored, err)
	code, reason, answer := 1000, "stored", object{"close": true}
	if err != nil {
		f := u.faultOf(err)
		code, reason, answer = 1008, f.code, object{"error": f.text, "fatal": true, "code": f.code}
	} else if stored != u.name || strings.ContainsRune(stored, utf8.RuneError) { // which stands for half a surrogate too
		answer["name"] = stored // S4.11
	}
	u.send(answer) // fails after an invalid frame, for which gorilla/websocket has sent a Close frame (S6.6)
	ws.SetReadDeadline(time.Now().Add(closeTime))
	for err = nil; err == nil; { // up to the client's Close frame, which is answered (S4.10, S5.6, S6.8)
		_, _, err = ws.NextReader()
	}
	ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason), time.Now().Add(closeTime)) // S5.5
	// The loop reads nothing after a timeout or an invalid frame. But bytes that nobody has read make the kernel reset the
	// connection, and the client may lose the answer.
	ws.UnderlyingConn().(*net.TCPConn).CloseWrite()
	ws.UnderlyingConn().SetReadDeadline(time.Now().Add(closeTime))
	io.Copy(io.Discard, ws.UnderlyingConn())
}

// receive receives one file, and returns the name under which it is stored.
func (u *upload) receive() (string, error) {
	defer func() {
		if u.file != nil {
			u.file.Close()
			os.Remove(u.file.Name()) // a stored file has a second name
		}
	}()
	for {
		signal, chunk, err := u.next()
		begun, finished := u.file != nil, string(signal["finished"]) == "true" || string(signal["finished"]) == "1" // S1.3
		switch {
		case err != nil:
		case begun && finished:
			return u.finish(signal["hash"])
		case finished || !begun && signal == nil:
			err = &fault{"bad_message", "The metadata have to be first."} // S2.4
		case signal == nil:
			err = u.store(chunk)
		case begun || signal["name"] == nil && signal["size"] == nil: // is ignored (S1.7, S2.3)
		default:
			err = u.begin(signal)
		}
		if err != nil {
			return "", err
		}
	}
}

// next reads a message: a signal, or else a chunk. What is longer than both may be is cut, and so found to be wrong.
func (u *upload) next() (signal map[string]json.RawMessage, chunk []byte, err error) {
	u.ws.SetReadDeadline(time.Now().Add(messageTime))
	if u.stopping.Err() != nil {
		return nil, nil, u.stopping.Err()
	}
	kind, reader, err := u.ws.NextReader()
	if err == nil {
		chunk, err = io.ReadAll(io.LimitReader(reader, chunkSize+1))
	}
	if err == nil && kind == websocket.TextMessage {
		signal, err = parse(chunk)
	}
	return signal, chunk, err
}

// begin takes the metadata. It looks at no key but these two (S1.2, S2.6).
func (u *upload) begin(signal map[string]json.RawMessage) (err error) {
	if !strings.HasPrefix(string(signal["name"]), `"`) || json.Unmarshal(signal["name"], &u.name) != nil {
		return &fault{"bad_metadata", "The name is not a string."}
	}
	// Not by way of a floating-point number, which would be rounded (S7.6).
	if u.size, err = strconv.ParseInt(string(signal["size"]), 10, 64); err != nil || u.size < 0 {
		return &fault{"bad_metadata", "The size is not an integer from 0 to 2^63-1."}
	}
	// Only what follows the last separator counts (S7.1). No stored name begins with a dot, as that of incoming files.
	u.safeName = u.name[strings.LastIndexAny(u.name, `/\`)+1:]
	control := strings.IndexFunc(u.safeName, unicode.IsControl) >= 0
	if strings.Trim(u.safeName, ". ") == "" || len(u.safeName) > 240 || control { // 255 less a number (see finish)
		return &fault{"bad_name", "The name is empty or too long, or has a control character."}
	}
	if u.safeName[0] == '.' {
		u.safeName = "_" + u.safeName[1:]
	}
	if u.file, err = os.CreateTemp(u.directory, ".incoming-*"); err != nil {
		return err
	}
	return u.grant()
}

// grant sends the credits that are due. Each is for chunkSize bytes, or, if there is no other, for the rest of the file: so
// a client whose chunks have a fixed size of at most chunkSize never exceeds one.
func (u *upload) grant() error {
	left := u.size - u.received
	if left == 0 {
		return u.send(object{"ready": true}) // for `finished`, or one more empty chunk (S4.1, S11.1)
	}
	for u.credits == 0 || u.credits < maxCredits && (u.credits+1)*chunkSize <= left { // S3.1
		credit := left
		if credit > chunkSize {
			credit = chunkSize
		}
		if err := u.send(object{"ready": true, "chunksize": credit}); err != nil {
			return err
		}
		u.credits++
	}
	return nil
}

// store writes a chunk to the file. While bytes are missing, there is a credit for it, and the limit of each credit is
// chunkSize or what is missing.
func (u *upload) store(chunk []byte) error {
	if len(chunk) == 0 {
		u.empty++
	}
	switch {
	case int64(len(chunk)) > u.size-u.received:
		return &fault{"size_mismatch", fmt.Sprintf("There are more than %d bytes.", u.size)}
	case len(chunk) > chunkSize || u.empty > 64: // S11.3, S11.4
		return &fault{"bad_chunk", "A chunk is longer than its credit, or too many are empty."}
	}
	if u.received < u.size {
		u.credits--
	}
	u.received += int64(len(chunk))
	to := io.MultiWriter(u.hashes["sha1"], u.hashes["sha256"], u.hashes["sha512"], u.file)
	if _, err := to.Write(chunk); err != nil {
		return err
	}
	return u.grant()
}

// finish compares the file with the hash of `finished`, and gives it its name, or the first free one like it.
func (u *upload) finish(claim json.RawMessage) (string, error) {
	if u.received < u.size {
		return "", &fault{"size_mismatch", fmt.Sprintf("Expected: %d bytes. Got: %d bytes.", u.size, u.received)}
	}
	if claim != nil && string(claim) != "null" { // S4.8
		var kind, value string
		members, err := parse(claim)
		if err != nil || json.Unmarshal(members["type"], &kind) != nil || json.Unmarshal(members["value"], &value) != nil {
			return "", &fault{"bad_message", "The hash is not an object with the strings type and value."}
		}
		sum := u.hashes[strings.ToLower(kind)] // S4.6
		if sum == nil {
			return "", &fault{"unsupported_hash", fmt.Sprintf("The hash type %.128q is not known.", kind)}
		}
		if found := fmt.Sprintf("%x", sum.Sum(nil)); !strings.EqualFold(found, value) {
			return "", &fault{"hash_mismatch", fmt.Sprintf("Expected: %.128q. Got: %q.", value, found)}
		}
	}
	if err := u.file.Sync(); err != nil {
		return "", err
	}
	extension, free := filepath.Ext(u.safeName), u.safeName
	for number := 1; ; number++ {
		// Unlike rename, link neither replaces a file nor follows a symbolic link.
		err := os.Link(u.file.Name(), filepath.Join(u.directory, free))
		if !errors.Is(err, fs.ErrExist) {
			return free, err
		}
		free = fmt.Sprintf("%s (%d)%s", strings.TrimSuffix(u.safeName, extension), number, extension)
	}
}

func (u *upload) send(signal object) error {
	u.ws.SetWriteDeadline(time.Now().Add(messageTime))
	return u.ws.WriteJSON(signal)
}

// faultOf is what the client gets to know of an error. The others are of the connection, or of the disk.
func (u *upload) faultOf(err error) (f *fault) {
	switch {
	case errors.As(err, &f):
		return f
	case u.stopping.Err() != nil:
		return &fault{"shutting_down", "The server is stopping."}
	case errors.Is(err, syscall.ENOSPC):
		return &fault{"no_space", "The disk is full."}
	case os.IsTimeout(err):
		return &fault{"idle", "No message came in time."}
	}
	return &fault{"storage_failed", "The file cannot be stored."}
}

// parse returns the members of an object. A map keeps keys apart that differ in case, unlike a struct.
func parse(text []byte) (members map[string]json.RawMessage, err error) {
	// gorilla/websocket does not check for UTF-8 (S6.7). A JSON null leaves the map nil.
	if !utf8.Valid(text) || json.Unmarshal(text, &members) != nil || members == nil {
		return nil, &fault{"bad_message", "A signal is no JSON object, or too long."}
	}
	return members, nil
}

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: galileo-server HOST:PORT DIRECTORY")
	}
	stopping, _ := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	s := &server{directory: os.Args[2], stopping: stopping}
	web := &http.Server{Addr: os.Args[1], Handler: s, ReadHeaderTimeout: messageTime, MaxHeaderBytes: 16 << 10}
	go func() {
		if err := web.ListenAndServe(); err != http.ErrServerClosed {
			log.Fatal(err)
		}
	}()
	<-stopping.Done()
	web.Shutdown(context.Background())
	s.running.Wait() // for the answers to running uploads
}
