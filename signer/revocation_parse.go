package signer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"time"

	"github.com/google/uuid"
)

const (
	// maxRevocations bounds the text of a list: 1 GiB, some 29 million entries.
	maxRevocations = 1 << 30

	// maxRevocationLine bounds a line: 4 KiB.
	maxRevocationLine = 4 << 10

	// blockLen is the number of ids in one block, 64 KiB, of those that wait for their
	// table. A block never moves; a growing slice would need twice its memory while it
	// is copied.
	blockLen = 4096
)

// What can be wrong with a line. A line is never quoted: it might be a key.
var (
	errLongLine = fmt.Errorf("has more than %d bytes", maxRevocationLine)
	errWholeKey = errors.New("holds a whole key: write only its id")
	errMark     = errors.New("begins with a byte order mark: save the list as UTF-8 without one")
	errBadLine  = errors.New("is neither a lower-case UUID nor a time such as `before 2006-01-02T15:04:05Z`, each with white space before any text that follows")
)

// ParseRevocations parses a list. A line is one of
//
//	<uuid> [text]               revokes the key with that id in its head, or in an id
//	                            caveat, and all keys restricted from it; OLLAMA- or
//	                            OLLAMA-ADMIN- may precede the id
//	before <RFC 3339> [text]    revokes all keys minted before that time, and
//	                            those whose UUID has no time; the time in an id
//	                            caveat does not count
//	# text                      is a comment, as is a blank line
//
// If any other line, or one of more than 4 KiB, is in the list, ParseRevocations returns
// an error with the line's number. The error quotes nothing of the line: it might be a
// key. If the list has more than 1 GiB, ParseRevocations returns an error, too. A list
// may be empty.
func ParseRevocations(r io.Reader) (*Revocations, error) {
	return parseRevocations(r, maxRevocations)
}

func parseRevocations(r io.Reader, limit int64) (*Revocations, error) {
	limited := &io.LimitedReader{R: r, N: limit + 1}
	in := bufio.NewReaderSize(limited, 64<<10)
	var found collection
	for number := 1; ; number++ {
		line, err := in.ReadSlice('\n')
		switch {
		case limited.N <= 0:
			return nil, fmt.Errorf("more than %d bytes", limit)
		case err == bufio.ErrBufferFull || len(bytes.TrimSuffix(line, []byte("\n"))) > maxRevocationLine:
			return nil, fmt.Errorf("line %d %w", number, errLongLine)
		case err != nil && err != io.EOF:
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		if err := found.addLine(line); err != nil {
			return nil, fmt.Errorf("line %d %w", number, err)
		}
		if err == io.EOF {
			return found.table(), nil
		}
	}
}

// collection holds the lines parsed so far.
type collection struct {
	blocks [][]words
	n      int
	before time.Time
}

// addLine parses a line.
func (c *collection) addLine(line []byte) error {
	line = bytes.TrimSpace(line)
	if len(line) == 0 || line[0] == '#' {
		return nil
	}
	if rest, ok := bytes.CutPrefix(line, []byte("before")); ok {
		return c.addBefore(rest)
	}
	if rest, ok := bytes.CutPrefix(line, []byte(adminPrefix)); ok {
		line = rest
	} else {
		line = bytes.TrimPrefix(line, []byte(userPrefix))
	}
	switch {
	case bytes.HasPrefix(line, []byte("\ufeff")), bytes.HasPrefix(line, []byte("\xff\xfe")), bytes.HasPrefix(line, []byte("\xfe\xff")):
		return errMark
	case len(line) < uuidLen:
		return errBadLine
	}
	id, ok := parseUUID(string(line[:uuidLen]))
	rest := line[uuidLen:]
	switch {
	case ok && (len(rest) == 0 || isBlank(rest[0])):
		c.add(id)
		return nil
	case ok && (rest[0] == '.' || rest[0] == '~'):
		return errWholeKey
	}
	return errBadLine
}

// rfc3339 excludes what time.Parse accepts beyond RFC 3339: fractions after a comma,
// hours of one digit, zones of a day or more.
var rfc3339 = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// addBefore parses what follows the word "before". Of several times the latest counts.
func (c *collection) addBefore(rest []byte) error {
	text := bytes.TrimLeft(rest, blanks)
	if i := bytes.IndexAny(text, blanks); i >= 0 { // never 0: they are trimmed
		text = text[:i]
	}
	if len(rest) == 0 || !isBlank(rest[0]) || !rfc3339.Match(text) {
		return errBadLine
	}
	t, err := time.Parse(time.RFC3339, string(text))
	if err != nil || !fitForBefore(t) {
		return errBadLine
	}
	if t.After(c.before) {
		c.before = t.UTC()
	}
	return nil
}

// fitForBefore reports whether keys can be older than t. A time before 1970 is older
// than any UUID, and so a mistake; the zero Time, which means that there is no time, is
// one of these.
func fitForBefore(t time.Time) bool { return t.Unix() >= 0 }

const blanks = " \t\v\f\r"

func isBlank(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' && c != '\n' }

// add adds an id.
func (c *collection) add(id uuid.UUID) {
	if c.n%blockLen == 0 {
		c.blocks = append(c.blocks, make([]words, 0, blockLen))
	}
	last := &c.blocks[len(c.blocks)-1]
	*last = append(*last, wordsOf(id))
	c.n++
}
