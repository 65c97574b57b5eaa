package handler

import "io"

// pieceSize is how much of a body is in one piece of memory at most: 256 KiB.
const pieceSize = 256 << 10

// content is a body in memory, in pieces: whatever moves many MiB at once, to
// make room or to read them, keeps a processor from everybody else meanwhile.
type content struct {
	first []byte // nil: there is no body
	more  [][]byte
}

func (c *content) size() int64 {
	n := int64(len(c.first))
	for _, piece := range c.more {
		n += int64(len(piece))
	}
	return n
}

// last is the piece to which more may be added.
func (c *content) last() *[]byte {
	if n := len(c.more); n > 0 {
		return &c.more[n-1]
	}
	return &c.first
}

// memory reads a content, and lets go of it at its end.
type memory struct {
	content
	rest    []byte // of the piece that is being read
	ahead   [][]byte
	portion *portion // to be given back at the end
}

func newMemory(c content) *memory { return &memory{content: c, rest: c.first, ahead: c.more} }

// Read implements io.Reader.
func (m *memory) Read(b []byte) (int, error) {
	for len(m.rest) == 0 {
		if len(m.ahead) == 0 {
			m.Close()
			return 0, io.EOF
		}
		m.rest, m.ahead = m.ahead[0], m.ahead[1:]
	}
	n := copy(b, m.rest)
	m.rest = m.rest[n:]
	return n, nil
}

// Close lets go of the memory.
func (m *memory) Close() error {
	portion := m.portion
	*m = memory{}
	portion.giveBack()
	return nil
}
