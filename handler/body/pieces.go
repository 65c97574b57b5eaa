package body

import "io"

// pieceSize is how much of a body is in one piece of memory at most: 256 KiB.
const pieceSize = 256 << 10

// Pieces is a body in memory, in pieces: whatever moves many MiB at once, to
// make room or to read them, keeps a processor from everybody else meanwhile.
type Pieces struct {
	First []byte // nil: there is no body
	More  [][]byte
}

func (c *Pieces) Size() int64 {
	n := int64(len(c.First))
	for _, piece := range c.More {
		n += int64(len(piece))
	}
	return n
}

// last is the piece to which more may be added.
func (c *Pieces) last() *[]byte {
	if n := len(c.More); n > 0 {
		return &c.More[n-1]
	}
	return &c.First
}

// Reader reads a content, and lets go of it at its end.
type Reader struct {
	Pieces
	rest    []byte // of the piece that is being read
	ahead   [][]byte
	Portion *Share // to be given back at the end
}

func NewReader(c Pieces) *Reader { return &Reader{Pieces: c, rest: c.First, ahead: c.More} }

// Read implements io.Reader.
func (m *Reader) Read(b []byte) (int, error) {
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
func (m *Reader) Close() error {
	portion := m.Portion
	*m = Reader{}
	portion.Release()
	return nil
}
