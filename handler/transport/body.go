package transport

import (
	"io"

	"github.com/ollama-proxy/ollama-proxy/handler/socket"
)

// Body is the body of a response from Ollama. When it has been read to its end, the
// connection becomes idle and serves the next request.
type Body struct {
	from       io.ReadCloser // what http1 or net/http reads
	conn       *conn
	closeAfter bool // the connection must not be used again
	ended      bool // from will not be read any more
}

// Read implements io.Reader. If the response ends too early, the error is never io.EOF;
// if the upload failed, it is that error.
func (b *Body) Read(p []byte) (int, error) {
	if b.ended {
		return 0, io.EOF
	}
	n, err := b.from.Read(p)
	return n, b.finishOn(err)
}

// Next waits until bytes of the body have arrived, and returns them in a buffer that the
// caller must release; chunk is valid until then. While Next waits, no buffer is held.
// At the end of the body the error is io.EOF; chunk may still have bytes then. s is nil
// if there are none.
func (b *Body) Next() (s *socket.Buffer, chunk []byte, err error) {
	if b.ended {
		return nil, nil, io.EOF
	}
	simple, ok := b.from.(*simpleBody)
	if !ok {
		b.conn.in.Peek(1)
		s = socket.Borrow(socket.ChunkBuffers)
		n, err := b.Read(s.Bytes)
		return s, s.Bytes[:n], err
	}
	s, chunk, err = simple.next()
	return s, chunk, b.finishOn(err)
}

// finishOn ends the body if err is not nil, and returns the error to report.
func (b *Body) finishOn(err error) error {
	if err != nil {
		if err != io.EOF {
			err = b.conn.uploadError(b.conn.reader.explain(err))
		}
		b.end(err == io.EOF)
	}
	return err
}

// Close closes the connection unless the response has been read to its end: this is how
// Ollama learns that it may stop.
func (b *Body) Close() error {
	b.end(false)
	return nil
}

// end makes the connection idle if the whole response has been read, the request was
// sent and nothing else has arrived; otherwise it closes the connection. Only the first
// call does anything.
func (b *Body) end(whole bool) {
	if b.ended {
		return
	}
	b.ended = true
	c := b.conn
	if simple, ok := b.from.(*simpleBody); ok {
		simple.Close()
	}
	if notCancelled := c.endWatch(); notCancelled && whole && !b.closeAfter && !c.hasMore() && (c.upload == nil || c.upload.isWhole()) {
		c.reused = true
		c.transport.put(c)
		return
	}
	c.close()
}

// hasMore reports whether bytes have arrived after the end of the response.
func (c *conn) hasMore() bool {
	return c.extraBytes || len(c.reader.buffered) > 0 || c.in != nil && c.in.Buffered() > 0
}
