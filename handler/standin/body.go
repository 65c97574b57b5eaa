package standin

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"io"
	"strings"
)

// takeBody reads the body into the record and, but for blobs, which may be larger than memory, into x.body.
// It stops where the answer is to come early, and then says so in x.fault.
func (x *exchange) takeBody() {
	sum := sha256.New()
	held := &prefix{}
	if x.route != nil && x.route.blob {
		held.limit = keepBody
	}
	incoming := &intake{r: io.TeeReader(x.r.Body, io.MultiWriter(sum, held))}

	switch {
	case x.r.Header.Get(faultHeader) == "early":
		x.fault = "early"
	case x.route != nil && x.route.read != nil && beginsEarly(incoming):
		x.fault, x.ask.Model = "early", "early"
	default:
		io.Copy(io.Discard, incoming)
	}

	x.body = held.Bytes()
	kept := x.body
	if len(kept) > keepBody {
		kept = bytes.Clone(kept[:keepBody]) // the rest is to be freed with the exchange
	}
	x.seen.Body, x.seen.BodyLen = kept, incoming.n
	sum.Sum(x.seen.BodySum[:0])
	if incoming.err != nil {
		x.unread = incoming.err
		x.seen.leave() // the context of a request whose body broke off does not end by itself
	}
}

// beginsEarly reports whether the JSON object in body begins with the model "early". It reads no further than it
// must to tell, give or take a buffer.
func beginsEarly(body io.Reader) bool {
	d := json.NewDecoder(body)
	if t, _ := d.Token(); t != json.Delim('{') {
		return false
	}
	key, _ := d.Token()
	if k, ok := key.(string); !ok || !strings.EqualFold(k, "model") {
		return false
	}
	value, _ := d.Token()
	model, _ := value.(string)
	return bare(model) == "early"
}

// intake counts what is read through it and keeps the error, which net/http tells only once.
type intake struct {
	r   io.Reader
	n   int64
	err error
}

func (i *intake) Read(p []byte) (int, error) {
	n, err := i.r.Read(p)
	i.n += int64(n)
	if err != nil && err != io.EOF {
		i.err = err
	}
	return n, err
}

// prefix keeps what is written to it up to limit bytes, or all if limit is 0, and discards the rest.
type prefix struct {
	bytes.Buffer
	limit int
}

func (p *prefix) Write(b []byte) (int, error) {
	keep := b
	if p.limit > 0 {
		keep = b[:min(len(b), p.limit-p.Len())]
	}
	p.Buffer.Write(keep)
	return len(b), nil
}
