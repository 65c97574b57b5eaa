package socket

import "sync"

// space is what something is read into. It is borrowed, for as long as what has
// been read is looked at and no longer: who waits has none.
type Space struct {
	Bytes []byte
	home  *sync.Pool
}

var (
	// headSpaces are for requests: 8 KiB. A longer head is not plain.
	HeadSpaces = spaces(8 << 10)

	// chunkSpaces are for what is passed on, 32 KiB: Ollama's chunks are a few
	// hundred bytes, but where they come at full speed there is then one write
	// for many.
	ChunkSpaces = spaces(32 << 10)
)

func spaces(size int) *sync.Pool {
	p := new(sync.Pool)
	p.New = func() any { return &Space{make([]byte, size), p} }
	return p
}

func Borrow(from *sync.Pool) *Space { return from.Get().(*Space) }

// giveBack gives it back. s may be nil.
func (s *Space) GiveBack() {
	if s != nil {
		s.home.Put(s)
	}
}

// freshReader reads into a space that it borrows when something has come. If it
// returns an error, there is no space and nothing has been read.
type FreshReader interface {
	ReadFresh(from *sync.Pool) (s *Space, n int, err error)
}
