package body

import (
	"io"
	"net/http"
	"sync"
)

// Body is the body of a request to Ollama: in memory, where it can be sent again, or a
// stream. The zero Body is empty.
type Body struct {
	Length int64     // bytes, or -1 if not known
	Small  Pieces    // the whole body, if it is in memory
	Large  io.Reader // otherwise the stream
	Upload *transfer // set by ReadCloser for a stream

	Share *Share // the memory taken for it
}

// ReadCloser returns the body as http.Request.Body. A body in memory can be had any
// number of times, a stream once.
func (b *Body) ReadCloser() io.ReadCloser {
	switch {
	case b.Small.First != nil:
		return NewReader(b.Small)
	case b.Large != nil:
		b.Upload = &transfer{Reader: b.Large, Closed: make(chan struct{})}
		return b.Upload
	}
	return http.NoBody
}

// Release frees a body in memory, which can then not be sent again: its answer may take
// far longer than its upload. A stream is left alone.
func (b *Body) Release() {
	if b.Small.First != nil {
		b.Small = Pieces{}
		b.Share.Release()
	}
}

// transfer is a stream that the transport reads. It reads in its own goroutine, perhaps
// even after it has returned a response or an error.
type transfer struct {
	io.Reader
	once   sync.Once
	Closed chan struct{} // closed once the transport will not read any more
}

func (t *transfer) Close() error {
	t.once.Do(func() { close(t.Closed) })
	return nil
}
