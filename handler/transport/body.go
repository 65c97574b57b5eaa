package transport

import (
	"io"

	"github.com/ollama-proxy/ollama-proxy/handler/socket"
)

// Body is the body of an answer. At its end the connection goes home.
type Body struct {
	from  io.ReadCloser
	conn  *conn
	last  bool // answer on this connection
	ended bool
}

func (b *Body) Read(p []byte) (int, error) {
	if b.ended {
		return 0, io.EOF
	}
	n, err := b.from.Read(p)
	return n, b.seen(err)
}

// Next waits until there is something to read, or nothing more will come, and
// lends what there is, as plainBody does. Until then nobody needs a buffer.
func (b *Body) Next() (s *socket.Buffer, chunk []byte, err error) {
	if b.ended {
		return nil, nil, io.EOF
	}
	plain, ok := b.from.(*simpleBody)
	if !ok {
		b.conn.in.Peek(1)
		s = socket.Borrow(socket.ChunkBuffers)
		n, err := b.Read(s.Bytes)
		return s, s.Bytes[:n], err
	}
	s, chunk, err = plain.next()
	return s, chunk, b.seen(err)
}

// seen ends the body with the error, if there is one.
func (b *Body) seen(err error) error {
	if err != nil {
		if err != io.EOF {
			err = b.conn.uploadError(b.conn.limit.explain(err))
		}
		b.end(err == io.EOF)
	}
	return err
}

// Close ends the connection if the answer has not come to its end: that is how
// Ollama learns that it may stop.
func (b *Body) Close() error {
	b.end(false)
	return nil
}

func (b *Body) end(whole bool) {
	if b.ended {
		return
	}
	b.ended = true
	c := b.conn
	if plain, ok := b.from.(*simpleBody); ok {
		plain.Close()
	}
	if undisturbed := c.endWatch(); undisturbed && whole && !b.last && !c.hasMore() && (c.sender == nil || c.sender.isWhole()) {
		c.reused = true
		c.home.put(c)
		return
	}
	c.close()
}

// hasMore reports whether something has come after the answer's end.
func (c *conn) hasMore() bool {
	return c.extraBytes || len(c.limit.first) > 0 || c.in != nil && c.in.Buffered() > 0
}
