package body

import "io"

// pieceSize is the largest size of one piece: 256 KiB.
const pieceSize = 256 << 10

// Pieces is a body in memory, in pieces of at most 256 KiB. Allocating or copying many
// MiB in one go would keep a processor from all other requests meanwhile.
type Pieces struct {
	First []byte // nil: there is no body
	More  [][]byte
}

// Size returns the number of bytes in all pieces.
func (p *Pieces) Size() int64 {
	n := int64(len(p.First))
	for _, piece := range p.More {
		n += int64(len(piece))
	}
	return n
}

// last returns the piece that more bytes can be appended to.
func (p *Pieces) last() *[]byte {
	if n := len(p.More); n > 0 {
		return &p.More[n-1]
	}
	return &p.First
}

// Reader reads Pieces. It frees their memory, and releases the Share, at the end and on
// Close.
type Reader struct {
	Pieces
	current   []byte   // what is left of the piece that is being read
	remaining [][]byte // the pieces after it
	Share     *Share   // may be nil
}

// NewReader returns a Reader at the beginning of p.
func NewReader(p Pieces) *Reader { return &Reader{Pieces: p, current: p.First, remaining: p.More} }

// Read implements io.Reader.
func (r *Reader) Read(b []byte) (int, error) {
	for len(r.current) == 0 {
		if len(r.remaining) == 0 {
			r.Close()
			return 0, io.EOF
		}
		r.current, r.remaining = r.remaining[0], r.remaining[1:]
	}
	n := copy(b, r.current)
	r.current = r.current[n:]
	return n, nil
}

// Close frees the pieces and releases the share. It returns nil.
func (r *Reader) Close() error {
	share := r.Share
	*r = Reader{}
	share.Release()
	return nil
}
