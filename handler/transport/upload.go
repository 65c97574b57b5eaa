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

// upload sends a request with a large body to Ollama, which may answer
// before it has the whole: so it has a goroutine of its own.
type upload struct {
	conn   *conn
	head   []byte
	body   io.ReadCloser
	length int64 // -1: not known

	done  chan struct{} // closed at the end; what follows is then final
	whole bool          // everything has been sent
	err   error         // why the body ended early; nil if it is the connection that failed
}

func newSender(c *conn, r *http.Request, head []byte) *upload {
	return &upload{conn: c, head: head, body: r.Body, length: bodyLength(r), done: make(chan struct{})}
}

func (s *upload) run() {
	defer s.body.Close()
	unsent, unread := s.send()
	s.whole, s.err = unsent == nil && unread == nil, unread
	close(s.done)
	if unread != nil {
		s.conn.abort() // what Ollama has got is no request
	}
}

// send gives two errors: unsent if the connection failed, perhaps because Ollama
// has answered and wants no more, and unread if the body did.
func (s *upload) send() (unsent, unread error) {
	if m, ok := s.body.(*body.Reader); ok {
		return s.write(append(net.Buffers{s.head, m.First}, m.More...)), nil
	}
	if err := s.write(net.Buffers{s.head}); err != nil {
		return err, nil
	}
	b := socket.Borrow(socket.ChunkBuffers)
	defer b.Release()
	for left := s.length; ; {
		n, err := s.body.Read(b.Bytes)
		chunk := b.Bytes[:n]
		if s.length >= 0 {
			if left -= int64(n); left < 0 {
				return nil, errBodyLength
			}
			if unsent := s.write(net.Buffers{chunk}); unsent != nil {
				return unsent, nil
			}
		} else if n > 0 {
			size := strconv.AppendInt(nil, int64(n), 16)
			if unsent := s.write(net.Buffers{append(size, "\r\n"...), chunk, []byte("\r\n")}); unsent != nil {
				return unsent, nil
			}
		}
		switch {
		case err == io.EOF && s.length < 0:
			return s.write(net.Buffers{[]byte("0\r\n\r\n")}), nil
		case err == io.EOF && left > 0:
			return nil, errBodyLength
		case err == io.EOF:
			return nil, nil
		case err != nil:
			return nil, err
		}
	}
}

func (s *upload) write(b net.Buffers) error {
	_, err := b.WriteTo(s.conn.stream)
	return err
}

// failure is why the body ended early; nil if it did not, or still goes on.
func (s *upload) failure() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

func (s *upload) isWhole() bool {
	select {
	case <-s.done:
		return s.whole
	default:
		return false
	}
}
