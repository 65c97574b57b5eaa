package models

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// Scanner finds the names in a JSON body as it passes, in pieces of any size. It reads a
// body that encoding/json accepts as encoding/json does: of several equal keys, in any
// letter case, the last one wins; null changes nothing; escapes are decoded; and
// whatever follows the first value is ignored. Of a body that encoding/json refuses, it
// may read anything. The zero Scanner is ready to use, for one body and one goroutine.
type Scanner struct {
	Names Names // what has been found so far

	state readState // what the next byte belongs to
	depth int       // of the object or list that is skipped

	// Buffer holds the key or the value that is being read, with its quotes: at most 4
	// KiB. It may be given capacity beforehand, see [UsualNameLen].
	Buffer []byte

	// A tool may have tools of its own. tools is how many tools, one inside the other,
	// enclose the keys that are being read; 0: they are the body's own. inTools is set
	// between two tools of a list.
	tools   int
	inTools bool

	// The value that is being read.
	field field
	exact bool // its key is "model" in exactly these letters
}

// A readState says what the next byte belongs to.
type readState int

const (
	beforeObject readState = iota
	beforeKey
	inKey
	inKeyEscape
	beforeColon
	beforeValue
	inString
	inStringEscape
	inLiteral
	inNested
	inNestedString
	inNestedEscape
	afterValue
	afterObject
)

// Read scans the next bytes of the body. It reports whether the first JSON value is
// complete, and how many of the bytes belong to it. It keeps no reference to b.
func (r *Scanner) Read(b []byte) (n int, done bool) {
	for i := 0; i < len(b); {
		c := b[i]
		switch r.state {
		case beforeObject:
			switch {
			case isSpace(c):
			case c == '{':
				r.state = beforeKey
			default:
				r.Names.Unreadable = true
				r.state = afterObject
				return i + 1, true
			}
			i++
		case beforeKey:
			switch c {
			case '"':
				r.Buffer = append(r.Buffer[:0], c)
				r.state = inKey
			case '}':
				if r.endObject() {
					return i + 1, true
				}
			}
			i++
		case inKey, inString, inNestedString:
			i += r.readString(b[i:])
		case inKeyEscape, inStringEscape, inNestedEscape:
			r.fill(b[i : i+1])
			r.state-- // back to the state inside the string
			i++
		case beforeColon:
			if c == ':' {
				r.state = beforeValue
			}
			i++
		case beforeValue:
			i += r.beginValue(c)
		case inLiteral:
			if c == ',' || c == '}' || isSpace(c) {
				r.endLiteral()
				break
			}
			r.fill(b[i : i+1])
			i++
		case inNested:
			switch c {
			case '"':
				r.state = inNestedString
			case '{', '[':
				r.beginNested(c)
			case '}', ']':
				r.endNested()
			}
			i++
		case afterValue:
			switch c {
			case ',':
				r.state = beforeKey
			case '}':
				if r.endObject() {
					return i + 1, true
				}
			}
			i++
		case afterObject:
			return i, true
		}
	}
	return len(b), r.state == afterObject
}

// beginNested enters an object or a list. A tool's object is scanned, anything else is
// skipped.
func (r *Scanner) beginNested(c byte) {
	if r.inTools && r.depth == 0 && c == '{' {
		r.inTools, r.state = false, beforeKey
		r.tools++
		return
	}
	r.depth++
}

// endNested leaves an object or list that is skipped, or the list of tools.
func (r *Scanner) endNested() {
	switch {
	case r.depth > 0:
		r.depth--
		if r.depth == 0 && !r.inTools {
			r.state = afterValue
		}
	case r.inTools: // the list of tools ends
		r.inTools, r.state = false, afterValue
	}
}

// endObject ends an object that is scanned. It reports whether that was the body.
func (r *Scanner) endObject() bool {
	if r.tools > 0 {
		r.tools--
		r.inTools, r.state = true, inNested
		return false
	}
	r.state = afterObject
	return true
}

// readString continues a string to its end, or to the end of b, and returns the number
// of bytes read.
func (r *Scanner) readString(b []byte) int {
	quote := -1
	for pos := 0; ; {
		if quote < pos {
			quote = len(b)
			if i := bytes.IndexByte(b[pos:], '"'); i >= 0 {
				quote = pos + i
			}
		}
		escape := bytes.IndexByte(b[pos:quote], '\\')
		switch {
		case escape >= 0 && pos+escape+1 < len(b):
			pos += escape + 2
		case escape >= 0:
			r.fill(b)
			r.state++ // the escape continues in the next piece
			return len(b)
		case quote == len(b):
			r.fill(b)
			return len(b)
		default:
			r.fill(b[:quote+1])
			switch r.state {
			case inKey:
				r.endKey()
			case inString:
				r.endString()
			case inNestedString:
				r.state = inNested
			}
			return quote + 1
		}
	}
}

// fill appends b to the buffer, if the value is of interest, up to one byte beyond
// the limit.
func (r *Scanner) fill(b []byte) {
	limit := maxNameValue
	switch r.state {
	case inNestedString, inNestedEscape:
		return
	case inKey, inKeyEscape:
		limit = maxNameKey
	case inString, inStringEscape, inLiteral:
		if r.field == noField {
			return
		}
	}
	if room := limit + 1 - len(r.Buffer); len(b) > room {
		b = b[:room]
	}
	r.Buffer = append(r.Buffer, b...)
}

// endKey looks up the key in the buffer.
func (r *Scanner) endKey() {
	r.state, r.field, r.exact = beforeColon, noField, false
	if len(r.Buffer) > maxNameKey {
		return
	}
	if key, ok := unquote(r.Buffer); ok {
		r.field, r.exact = fieldOf(key, r.tools > 0), r.tools == 0 && string(key) == "model"
	}
}

// unquote decodes a JSON string. Most have no escapes, and are decoded without
// allocating.
func unquote(quoted []byte) (text []byte, ok bool) {
	inner := quoted[1 : len(quoted)-1]
	for _, c := range inner {
		if c == '\\' || c < ' ' || c >= utf8.RuneSelf {
			var s string
			err := json.Unmarshal(quoted, &s)
			return []byte(s), err == nil
		}
	}
	return inner, true
}

// beginValue reads the first byte of a value, or a space before it, and returns 1; or 0
// if the byte is to be read in the new state.
func (r *Scanner) beginValue(c byte) int {
	r.Buffer = r.Buffer[:0]
	switch {
	case isSpace(c):
	case c == '"':
		r.state = inString
		r.fill([]byte{c})
	case c == '{' || c == '[':
		if r.field.isName() {
			r.Names.Unreadable = true
		}
		r.state, r.depth = inNested, 1
		if r.field == toolsField && c == '[' {
			r.inTools, r.depth = true, 0
		}
	case c == ',' || c == '}':
		r.state = afterValue // the value is missing: Ollama refuses the body
		return 0
	default:
		r.state = inLiteral
		return 0
	}
	return 1
}

// endString stores the string in the buffer, if it is of interest.
func (r *Scanner) endString() {
	r.state = afterValue
	if !r.field.isName() && r.field != typeField {
		return
	}
	value, ok := TooLong, false
	if len(r.Buffer) <= maxNameValue {
		var text []byte
		text, ok = unquote(r.Buffer)
		value = string(text)
	}
	r.Names.setField(r.field, value)
	if r.exact {
		r.Names.Exact = value
	}
	if !ok && r.field.isName() {
		r.Names.Unreadable = true
	}
}

// endLiteral reads the number, true, false or null in the buffer.
func (r *Scanner) endLiteral() {
	r.state = afterValue
	switch literal := string(r.Buffer); {
	case r.field.isName() && literal != "null":
		r.Names.Unreadable = true
	case r.field == streamField && literal != "null":
		r.Names.Stream = literal == "true"
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }
