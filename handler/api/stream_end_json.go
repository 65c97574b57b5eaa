package api

import (
	"bytes"
	"strconv"
)

// object is an incremental JSON parser for one object, in pieces of any size. It reads
// the few members of the outermost level that tell how a stream is doing, and skips all
// else without keeping it. Of several members of one name the last counts.
type object struct {
	word LastWord // of the stream

	last     bool      // it is the last word of a stream of lines
	failed   bool      // it has an error
	typed    eventKind // by its type
	numbered bool      // it has a sequence_number
	sequence int64

	depth    int32
	state    objectState
	inString bool
	escaped  bool // the next byte of the string
	closed   bool
	broken   bool // it is no object, or something follows it
	key      objectKey
	text     [24]byte // of a name or a value, or its beginning
	n        uint8    // more than there is room for: it is longer
}

type objectState uint8

const (
	atName objectState = iota
	inName
	atColon
	atValue
	inText   // a value that is a string
	inScalar // one that is a number, true, false or null
	behindValue
)

type objectKey uint8

const (
	otherKey objectKey = iota
	doneKey
	statusKey
	typeKey
	errorKey
	sequenceKey
)

// isEmpty reports whether no byte of the object has come.
func (o *object) isEmpty() bool { return o.depth == 0 && !o.closed && !o.broken }

// isWhole reports whether the object is complete, and nothing follows it.
func (o *object) isWhole() bool { return o.closed && !o.broken }

func (o *object) read(b []byte) {
	for len(b) > 0 {
		switch {
		case o.broken:
			return
		case o.inString:
			b = o.readString(b)
		case o.depth > 1:
			b = o.skip(b)
		default:
			o.step(b[0])
			b = b[1:]
		}
	}
}

// skip skips what is nested, up to the next string or the outermost level, and returns
// the rest.
func (o *object) skip(b []byte) []byte {
	for i, c := range b {
		switch c {
		case '"':
			o.inString = true
			return b[i+1:]
		case '{', '[':
			o.depth++
		case '}', ']':
			if o.depth--; o.depth == 1 {
				return b[i+1:]
			}
		}
	}
	return nil
}

// readString reads the rest of a string, as far as it has come, and returns what follows.
func (o *object) readString(b []byte) []byte {
	if o.escaped {
		o.escaped = false
		o.keep(b[:1])
		return b[1:]
	}
	end := bytes.IndexByte(b, '"')
	part := b
	if end >= 0 {
		part = b[:end]
	}
	backslashes := 0
	for backslashes < len(part) && part[len(part)-1-backslashes] == '\\' {
		backslashes++
	}
	o.keep(part)
	isEscaped := backslashes%2 == 1
	switch {
	case end < 0:
		o.escaped = isEscaped
		return nil
	case isEscaped:
		o.keep(b[end : end+1])
	default:
		o.inString = false
		o.endString()
	}
	return b[end+1:]
}

// keep stores the first bytes of a name, or of a value that counts.
func (o *object) keep(b []byte) {
	if o.depth > 1 || o.state == inText && o.key == otherKey || int(o.n) > len(o.text) {
		return
	}
	n := copy(o.text[o.n:], b)
	o.n += uint8(n)
	if n < len(b) {
		o.n = uint8(len(o.text)) + 1
	}
}

// kept returns the name or the value, and "" if it is longer than any that counts.
func (o *object) kept() string {
	if int(o.n) > len(o.text) {
		return ""
	}
	return string(o.text[:o.n])
}

func (o *object) endString() {
	switch {
	case o.depth > 1:
	case o.state == inName:
		o.key, o.state = keyOf(o.kept()), atColon
	default:
		o.set(asText)
		o.state = behindValue
	}
}

func keyOf(name string) objectKey {
	switch name {
	case "done":
		return doneKey
	case "status":
		return statusKey
	case "type":
		return typeKey
	case "error":
		return errorKey
	case "sequence_number":
		return sequenceKey
	}
	return otherKey
}

// step reads one byte outside of the object, or on its outermost level outside of
// strings.
func (o *object) step(c byte) {
	switch {
	case c == ' ' || c == '\t' || c == '\r' || c == '\n':
		if o.state == inScalar {
			o.endScalar()
		}
	case o.depth == 0:
		if c != '{' || o.closed {
			o.broken = true
			return
		}
		o.depth = 1
	case c == '"' && o.state == atName:
		o.inString, o.state, o.n = true, inName, 0
	case c == '"' && o.state == atValue:
		o.inString, o.state, o.n = true, inText, 0
	case c == ':' && o.state == atColon:
		o.state = atValue
	case (c == '{' || c == '[') && o.state == atValue:
		o.set(asNested)
		o.depth, o.state = 2, behindValue
	case c == ',' || c == '}':
		o.endScalar()
		o.state = atName
		if c == '}' {
			o.depth, o.closed = 0, true
		}
	case o.state == atValue || o.state == inScalar:
		if o.state == atValue {
			o.n = 0
		}
		o.state = inScalar
		o.keep([]byte{c})
	default:
		o.broken = true
	}
}

func (o *object) endScalar() {
	if o.state == inScalar {
		o.set(asScalar)
		o.state = behindValue
	}
}

// valueForm is how the value of a member is written.
type valueForm uint8

const (
	asText   valueForm = iota // a string
	asScalar                  // a number, true, false or null
	asNested                  // an object or an array
)

// set stores the value of a member.
func (o *object) set(form valueForm) {
	value := o.kept()
	switch o.key {
	case doneKey:
		if o.word == doneTrue {
			o.last = form == asScalar && value == "true"
		}
	case statusKey:
		if o.word == success {
			o.last = form == asText && value == "success"
		}
	case errorKey: // as the clients see it: one that is empty is none
		o.failed = form == asNested || form == asText && o.n > 0 ||
			form == asScalar && value != "null" && value != "false" && value != "0"
	case typeKey:
		if form == asText && !o.word.Lines() && o.word != doneMark {
			o.typed = o.word.kind(value)
		}
	case sequenceKey:
		n, err := strconv.ParseInt(value, 10, 64)
		o.sequence, o.numbered = n, form == asScalar && err == nil && 0 <= n && n < maxSequence
	}
}

// maxSequence bounds the numbers of events: 2^53 - 1. JavaScript keeps the next number
// exact, too.
const maxSequence = 1<<53 - 1
