package main

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unicode"
)

const (
	incoming = ".incoming" // the folder of incomplete files; no stored name begins with a dot
	maxName  = 240         // bytes, so that a number still fits into the 255 of a filesystem
	maxTries = 1000        // names that are tried for one file
)

// The standard library has no blake2b (S4.15).
var hashes = map[string]func() hash.Hash{"sha1": sha1.New, "sha256": sha256.New, "sha512": sha512.New}

// prepare makes the folder for incomplete files, and removes what an earlier process has left there. The result unlocks
// the folder, which only one process may use.
func prepare(directory string) (func() error, error) {
	path := filepath.Join(directory, incoming)
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	folder, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(folder.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, fmt.Errorf("%s is used by another process: %w", path, err)
	}
	names, err := folder.Readdirnames(-1)
	for _, name := range names {
		os.Remove(filepath.Join(path, name)) // one that stays takes space, and does no other harm
	}
	return folder.Close, err
}

// safeName makes a file's name out of what a stranger sends (S7.1): only what follows the last separator counts.
func safeName(name string) (string, error) {
	name = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '_'
		}
		return r
	}, name[strings.LastIndexAny(name, `/\`)+1:])
	if strings.Trim(name, ". ") == "" || len(name) > maxName {
		return "", &fault{"bad_name", fmt.Sprintf("The name is empty, or longer than %d bytes.", maxName)}
	}
	if name[0] == '.' {
		name = "_" + name[1:]
	}
	return name, nil
}

// verify compares the file with the hash of `finished`. It reads the file again, since the type comes last.
func verify(file *os.File, claim json.RawMessage) error {
	if claim == nil || string(claim) == "null" {
		return nil // S4.8
	}
	members := parse(claim)
	var kind, value string
	if json.Unmarshal(members["type"], &kind) != nil || json.Unmarshal(members["value"], &value) != nil {
		return &fault{"bad_message", "The hash is not an object with the strings type and value."}
	}
	create := hashes[strings.ToLower(kind)] // S4.6
	if create == nil {
		return &fault{"unsupported_hash", fmt.Sprintf("The hash type %q is not known.", kind)}
	}
	sum := create()
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return diskFault(err)
	}
	if _, err := io.Copy(sum, file); err != nil {
		return diskFault(err)
	}
	if found := hex.EncodeToString(sum.Sum(nil)); !strings.EqualFold(found, value) {
		return &fault{"hash_mismatch", fmt.Sprintf("Expected: %.128q. Got: %q.", value, found)}
	}
	return nil
}

// publish gives the complete file its name in the directory, or the first free one like it, which it returns. After
// that, content and name are on disk.
func publish(file *os.File, directory, name string) (string, error) {
	if err := file.Sync(); err != nil {
		return "", diskFault(err)
	}
	folder, err := os.Open(directory)
	if err != nil {
		return "", diskFault(err)
	}
	defer folder.Close()
	extension := filepath.Ext(name)
	free := name
	for try := 1; try <= maxTries; try++ {
		// Unlike rename, link neither replaces a file nor follows a symbolic link.
		path := filepath.Join(directory, free)
		err = os.Link(file.Name(), path)
		if err == nil {
			if err = folder.Sync(); err != nil {
				os.Remove(path) // S4.9
			}
		}
		if !errors.Is(err, fs.ErrExist) {
			return free, diskFault(err)
		}
		free = fmt.Sprintf("%s (%d)%s", strings.TrimSuffix(name, extension), try, extension)
	}
	return "", &fault{"conflict", "The name is taken."}
}

// diskFault is the fault for an error of the disk. The client does not get to know the path. Other errors stay.
func diskFault(err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case !errors.As(err, &path) && !errors.As(err, &link):
		return err
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		return &fault{"no_space", "The disk is full."}
	}
	log.Print(err)
	return &fault{"storage_failed", "The file cannot be stored."}
}
