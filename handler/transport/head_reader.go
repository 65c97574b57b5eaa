package transport

import "io"

// headReader reads from a connection, and bounds the head of a response.
type headReader struct {
	from     io.Reader
	buffered []byte // bytes that have been read from the connection before
	allowed  int    // bytes that may still be read; negative: any number
	received bool   // a byte has arrived
	err      error  // the first error; repeated, so that a broken connection never seems to have ended well
}

// Read implements io.Reader.
func (h *headReader) Read(p []byte) (n int, err error) {
	switch {
	case h.err != nil:
		return 0, h.err
	case h.allowed == 0:
		return 0, errHeadTooLong
	case h.allowed > 0 && len(p) > h.allowed:
		p = p[:h.allowed]
	}
	if len(h.buffered) > 0 {
		n = copy(p, h.buffered)
		h.buffered = h.buffered[n:]
	} else {
		n, err = h.from.Read(p)
	}
	if h.allowed > 0 {
		h.allowed -= n
	}
	h.received = h.received || n > 0
	h.err = err
	return n, err
}

// explain returns the error of the connection, if it had one, in place of err: a
// response that was cut off may look malformed.
func (h *headReader) explain(err error) error {
	switch h.err {
	case nil:
		return err
	case io.EOF:
		return io.ErrUnexpectedEOF
	}
	return h.err
}
