package connect

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
)

// upload is the request body that the transport reads. When the answer begins, the
// server closes the client's body, and the transport may still be reading it. If such a
// read failed, even after the body's end, the transport would close the connection on
// which the answer comes. So Read gives io.EOF again after the end, and a read of a
// closed body waits until the answer has been passed on.
type upload struct {
	io.ReadCloser
	over   <-chan struct{} // closed when the answer has been passed on
	ended  bool
	failed atomic.Pointer[error] // why the client's body could not be read
}

func (u *upload) Read(p []byte) (int, error) {
	if u.ended {
		return 0, io.EOF
	}
	n, err := u.ReadCloser.Read(p)
	switch {
	case err == io.EOF:
		u.ended = true
	case errors.Is(err, http.ErrBodyReadAfterClose):
		<-u.over
	case err != nil:
		u.failed.Store(&err)
	}
	return n, err
}

// err returns why the client's body could not be read, or nil.
func (u *upload) err() error {
	if err := u.failed.Load(); err != nil {
		return *err
	}
	return nil
}
