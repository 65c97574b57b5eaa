package socket

import "sync"

// Buffer is a byte slice borrowed from a pool. It is valid from [Borrow] or ReadBuffer
// until Release. Whoever waits for bytes holds none, so that idle connections take no
// memory for reading.
type Buffer struct {
	Bytes []byte
	pool  *sync.Pool // where Release puts it
}

var (
	// HeadBuffers holds buffers of 8 KiB for the heads of requests. A head that does not
	// fit is not a simple one, see package http1.
	HeadBuffers = newPool(8 << 10)

	// ChunkBuffers holds buffers of 32 KiB for bodies that are passed on. One of
	// Ollama's chunks has a few hundred bytes; when chunks arrive faster than they are
	// passed on, one read takes many, and one write sends them.
	ChunkBuffers = newPool(32 << 10)
)

func newPool(size int) *sync.Pool {
	p := new(sync.Pool)
	p.New = func() any { return &Buffer{make([]byte, size), p} }
	return p
}

// Borrow takes a buffer from the pool, which is [HeadBuffers] or [ChunkBuffers]. The
// caller must call Release.
func Borrow(pool *sync.Pool) *Buffer { return pool.Get().(*Buffer) }

// Release puts the buffer back into its pool. Its bytes must not be used afterwards, and
// Release must not be called twice. A nil Buffer may be released.
func (b *Buffer) Release() {
	if b != nil {
		b.pool.Put(b)
	}
}

// BufferReader is implemented by the connections that [New] returns.
type BufferReader interface {
	// ReadBuffer waits until bytes have arrived, borrows a buffer from the pool and
	// reads n bytes into it, n > 0. The caller must release the buffer. If ReadBuffer
	// returns an error, io.EOF at the end of the stream, there is no buffer and nothing
	// has been read.
	ReadBuffer(pool *sync.Pool) (b *Buffer, n int, err error)
}
