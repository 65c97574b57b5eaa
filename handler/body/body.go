package body

import (
	"io"
	"net/http"
	"sync"
)

// Body is a request's body on its way to Ollama. The zero body is empty.
type Body struct {
	Length int64     // -1: not known
	Small  Pieces    // all of it, if it is in memory
	Large  io.Reader // otherwise
	Upload *transfer // of a large body, once it has been handed to the transport

	Share *Share // of the memory that all bodies take
}

// ReadCloser is the body as http.Request wants it.
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

// Release lets go of a body in memory, which will not be sent again: its answer may
// take far longer.
func (b *Body) Release() {
	if b.Small.First != nil {
		b.Small = Pieces{}
		b.Share.Release()
	}
}

// transfer is a large body in the transport's hands: it reads in a goroutine of
// its own, and may do so after it has returned an answer or an error.
type transfer struct {
	io.Reader
	once   sync.Once
	Closed chan struct{} // once it will read no more
}

func (t *transfer) Close() error {
	t.once.Do(func() { close(t.Closed) })
	return nil
}
