package handler

import (
	"io"
	"net/http"
	"sync"
)

// body is a request's body on its way to Ollama. The zero body is empty.
type body struct {
	length int64     // -1: not known
	small  content   // all of it, if it is in memory
	large  io.Reader // otherwise
	upload *transfer // of a large body, once it has been handed to the transport

	portion *portion // of the memory that all bodies take
}

// readCloser is the body as http.Request wants it.
func (b *body) readCloser() io.ReadCloser {
	switch {
	case b.small.first != nil:
		return newMemory(b.small)
	case b.large != nil:
		b.upload = &transfer{Reader: b.large, closed: make(chan struct{})}
		return b.upload
	}
	return http.NoBody
}

// letGo lets go of a body in memory, which will not be sent again: its answer may
// take far longer.
func (b *body) letGo() {
	if b.small.first != nil {
		b.small = content{}
		b.portion.giveBack()
	}
}

// transfer is a large body in the transport's hands: it reads in a goroutine of
// its own, and may do so after it has returned an answer or an error.
type transfer struct {
	io.Reader
	once   sync.Once
	closed chan struct{} // once it will read no more
}

func (t *transfer) Close() error {
	t.once.Do(func() { close(t.closed) })
	return nil
}
