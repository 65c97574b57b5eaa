package socket

import "sync"

// Buffer is what something is read into. It is borrowed, for as long as what has
// been read is looked at and no longer: who waits has none.
type Buffer struct {
	Bytes []byte
	home  *sync.Pool
}

var (
	// HeadBuffers are for requests: 8 KiB. A longer head is not simple.
	HeadBuffers = newPool(8 << 10)

	// ChunkBuffers are for what is passed on, 32 KiB: Ollama's chunks are a few
	// hundred bytes, but where they come at full speed there is then one write
	// for many.
	ChunkBuffers = newPool(32 << 10)
)

func newPool(size int) *sync.Pool {
	p := new(sync.Pool)
	p.New = func() any { return &Buffer{make([]byte, size), p} }
	return p
}

func Borrow(from *sync.Pool) *Buffer { return from.Get().(*Buffer) }

// Release gives it back. s may be nil.
func (s *Buffer) Release() {
	if s != nil {
		s.home.Put(s)
	}
}

// BufferReader reads into a space that it borrows when something has come. If it
// returns an error, there is no buffer and nothing has been read.
type BufferReader interface {
	ReadBuffer(from *sync.Pool) (s *Buffer, n int, err error)
}
