package upstream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxUpstreamsFile bounds the size of the file: 1 MiB.
const maxUpstreamsFile = 1 << 20

// File is a file that lists Ollamas, one a line, in the syntax of [Parse], with commas
// or spaces between the parts. A # begins a comment. A File is for one goroutine at a
// time.
type File struct {
	path string
	text []byte // of the last successful Load
}

// NewFile returns the File at a path. It does not read it.
func NewFile(path string) *File { return &File{path: path} }

// Load returns the Ollamas in the file, or nil if the file is as it was at the last
// successful Load. If the file cannot be read, has more than 1 MiB, lists no Ollama, or
// has a malformed line, Load returns an error, with the line's number.
func (f *File) Load() ([]Upstream, error) {
	file, err := os.Open(f.path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxUpstreamsFile+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > maxUpstreamsFile:
		return nil, fmt.Errorf("%s has more than %d bytes", f.path, maxUpstreamsFile)
	case f.text != nil && bytes.Equal(text, f.text):
		return nil, nil
	}
	all, err := readUpstreams(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.path, err)
	}
	f.text = text
	return all, nil
}

// readUpstreams parses the text of a file.
func readUpstreams(text string) (all []Upstream, err error) {
	number := 0
	for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
		number++
		line, _, _ = strings.Cut(line, "#")
		parts := strings.FieldsFunc(line, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\r' || r == '\n' })
		if len(parts) == 0 {
			continue
		}
		ones, err := Parse(parts)
		if err == nil && len(ones) > 1 {
			err = errors.New("there is more than one Ollama")
		}
		if err == nil {
			all, err = addUpstream(all, ones[0])
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("it lists no Ollama")
	}
	return all, nil
}
