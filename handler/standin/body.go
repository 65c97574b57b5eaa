package standin

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"io"
	"strings"
)

// readBody reads the body into x.seen and x.body; of a blob, which may be larger than memory, only the beginning.
// If the request asks for an early answer, it sets x.fault and does not read on.
func (x *exchange) readBody() {
	sum := sha256.New()
	held := &prefix{}
	if x.route != nil && x.route.blob {
		held.limit = keepBody
	}
	incoming := &countingReader{r: io.TeeReader(x.r.Body, io.MultiWriter(sum, held))}

	switch {
	case x.r.Header.Get(faultHeader) == "early":
		x.fault = "early"
	case x.route != nil && x.route.read != nil && startsWithEarly(incoming):
		x.fault, x.query.Model = "early", "early"
	default:
		io.Copy(io.Discard, incoming)
	}

	x.body = held.Bytes()
	kept := x.body
	if len(kept) > keepBody {
		kept = bytes.Clone(kept[:keepBody]) // so that the rest is freed with the exchange
	}
	x.seen.Body, x.seen.BodyLen = kept, incoming.n
	sum.Sum(x.seen.BodySum[:0])
	if incoming.err != nil {
		x.bodyErr = incoming.err
		x.seen.clientLeft() // net/http does not end the context of a request whose body broke off
	}
}

// startsWithEarly reports whether the first key of a JSON object is the model "early". It reads no more than a buffer
// beyond that key.
func startsWithEarly(body io.Reader) bool {
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
	return withoutTag(model) == "early"
}

// countingReader counts the bytes that are read, and keeps the error, which net/http returns only once.
type countingReader struct {
	r   io.Reader
	n   int64
	err error
}

func (i *countingReader) Read(p []byte) (int, error) {
	n, err := i.r.Read(p)
	i.n += int64(n)
	if err != nil && err != io.EOF {
		i.err = err
	}
	return n, err
}

// prefix keeps the first limit bytes that are written, or all if limit is 0.
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
