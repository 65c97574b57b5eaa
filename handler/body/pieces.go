package body

import "io"

// pieceSize is how much of a body is in one piece of memory at most: 256 KiB.
const pieceSize = 256 << 10

// content is a body in memory, in pieces: whatever moves many MiB at once, to
// make room or to read them, keeps a processor from everybody else meanwhile.
type Content struct {
	First []byte // nil: there is no body
	More  [][]byte
}

func (c *Content) Size() int64 {
	n := int64(len(c.First))
	for _, piece := range c.More {
		n += int64(len(piece))
	}
	return n
}

// last is the piece to which more may be added.
func (c *Content) last() *[]byte {
	if n := len(c.More); n > 0 {
		return &c.More[n-1]
	}
	return &c.First
}

// memory reads a content, and lets go of it at its end.
type Memory struct {
	Content
	rest    []byte // of the piece that is being read
	ahead   [][]byte
	Portion *portion // to be given back at the end
}

func NewMemory(c Content) *Memory { return &Memory{Content: c, rest: c.First, ahead: c.More} }

// Read implements io.Reader.
func (m *Memory) Read(b []byte) (int, error) {
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
func (m *Memory) Close() error {
	portion := m.Portion
	*m = Memory{}
	portion.GiveBack()
	return nil
}
