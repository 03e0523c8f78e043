package main

import (
	"crypto/sha1"
	"encoding"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"time"

	"github.com/gorilla/websocket"
)

// The hash's state is kept each time that so many bytes were hashed. So continuing at an offset means reading at most
// these again: a server would not wait until 100 GB are read.
const stateInterval = 64 << 20

// The content of the file, and the hash of all bytes below offset.
type content struct {
	file           *os.File
	size, modified int64 // bytes; milliseconds since 1970
	offset         int64
	sum            hash.Hash
	states         []state // ascending
	buffer         [64 << 10]byte
}

type state struct {
	offset int64
	sum    []byte
}

func open(path string) (*content, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	return &content{file: file, size: info.Size(), modified: info.ModTime().UnixMilli(), sum: sha1.New()}, nil
}

func (c *content) hash() string { return hex.EncodeToString(c.sum.Sum(nil)) }

// unchanged returns an error if the file was changed since it was opened: what was sent may be a mixture.
func (c *content) unchanged() error {
	info, err := c.file.Stat()
	if err == nil && (info.Size() != c.size || info.ModTime().UnixMilli() != c.modified) {
		err = errors.New("the file was changed while it was sent")
	}
	return err
}

// rewind goes to an offset, which may be behind the present one.
func (c *content) rewind(offset int64) error {
	if offset < c.offset {
		for len(c.states) > 0 && c.states[len(c.states)-1].offset > offset {
			c.states = c.states[:len(c.states)-1]
		}
		c.sum.Reset()
		c.offset = 0
		if last := len(c.states) - 1; last >= 0 {
			c.offset = c.states[last].offset
			if err := c.sum.(encoding.BinaryUnmarshaler).UnmarshalBinary(c.states[last].sum); err != nil {
				return err
			}
		}
	}
	for c.offset < offset {
		if _, err := c.next(offset - c.offset); err != nil {
			return err
		}
	}
	return nil
}

// next reads and hashes up to limit bytes at the offset. The result is valid until the next call.
func (c *content) next(limit int64) ([]byte, error) {
	if until := stateInterval - c.offset%stateInterval; limit > until {
		limit = until
	}
	if limit > int64(len(c.buffer)) {
		limit = int64(len(c.buffer))
	}
	part := c.buffer[:limit]
	if _, err := c.file.ReadAt(part, c.offset); err == io.EOF {
		return nil, errors.New("the file became shorter while it was sent")
	} else if err != nil {
		return nil, err
	}
	c.sum.Write(part)
	c.offset += limit
	if c.offset%stateInterval == 0 {
		sum, err := c.sum.(encoding.BinaryMarshaler).MarshalBinary()
		if err != nil {
			return nil, err
		}
		c.states = append(c.states, state{c.offset, sum})
	}
	return part, nil
}

// send sends the next length bytes as one message, of which only a frame is in memory. The first result is an error of
// the connection, the second one of the file.
func (c *content) send(ws *websocket.Conn, length int64) (broken, err error) {
	message, broken := ws.NextWriter(websocket.BinaryMessage)
	for broken == nil && length > 0 {
		part, err := c.next(length)
		if err != nil {
			return nil, err
		}
		length -= int64(len(part))
		ws.SetWriteDeadline(time.Now().Add(writeTime))
		_, broken = message.Write(part)
	}
	if broken != nil {
		return broken, nil
	}
	return message.Close(), nil
}
