package transport

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"

	"github.com/ollama-proxy/ollama-proxy/handler/body"
	"github.com/ollama-proxy/ollama-proxy/handler/socket"
)

var errBodyLength = errors.New("the body is not as long as announced")

// upload sends a request with a large body in its own goroutine, because Ollama may
// respond before it has read all of it.
type upload struct {
	conn   *conn
	head   []byte
	body   io.ReadCloser
	length int64 // bytes of body; -1: not known

	done  chan struct{} // closed at the end; whole and err are final then
	whole bool          // all of the request has been written
	err   error         // why the body could not be read; nil if it was the connection that failed
}

func newUpload(c *conn, r *http.Request, head []byte) *upload {
	return &upload{conn: c, head: head, body: r.Body, length: bodyLength(r), done: make(chan struct{})}
}

// run sends the request and closes its body.
func (u *upload) run() {
	defer u.body.Close()
	sendErr, readErr := u.send()
	u.whole, u.err = sendErr == nil && readErr == nil, readErr
	close(u.done)
	if readErr != nil {
		u.conn.abort() // what Ollama has received is not a whole request
	}
}

// send writes the request. sendErr is an error of the connection, perhaps because Ollama
// has responded and does not read any more; readErr is one of the body.
func (u *upload) send() (sendErr, readErr error) {
	if m, ok := u.body.(*body.Reader); ok {
		return u.write(append(net.Buffers{u.head, m.First}, m.More...)), nil
	}
	if err := u.write(net.Buffers{u.head}); err != nil {
		return err, nil
	}
	b := socket.Borrow(socket.ChunkBuffers)
	defer b.Release()
	for left := u.length; ; {
		n, err := u.body.Read(b.Bytes)
		chunk := b.Bytes[:n]
		if u.length >= 0 {
			if left -= int64(n); left < 0 {
				return nil, errBodyLength
			}
			if sendErr := u.write(net.Buffers{chunk}); sendErr != nil {
				return sendErr, nil
			}
		} else if n > 0 {
			size := strconv.AppendInt(nil, int64(n), 16)
			if sendErr := u.write(net.Buffers{append(size, "\r\n"...), chunk, []byte("\r\n")}); sendErr != nil {
				return sendErr, nil
			}
		}
		switch {
		case err == io.EOF && u.length < 0:
			return u.write(net.Buffers{[]byte("0\r\n\r\n")}), nil
		case err == io.EOF && left > 0:
			return nil, errBodyLength
		case err == io.EOF:
			return nil, nil
		case err != nil:
			return nil, err
		}
	}
}

func (u *upload) write(b net.Buffers) error {
	_, err := b.WriteTo(u.conn.stream)
	return err
}

// failure returns why the body could not be read; nil if it could, or is still being
// sent.
func (u *upload) failure() error {
	select {
	case <-u.done:
		return u.err
	default:
		return nil
	}
}

// isWhole reports whether all of the request has been written.
func (u *upload) isWhole() bool {
	select {
	case <-u.done:
		return u.whole
	default:
		return false
	}
}
