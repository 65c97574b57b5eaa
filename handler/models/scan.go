package models

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"
)

const (
	// maxNameKey is more than the longest key of interest takes when each of
	// its letters is written as an escape.
	maxNameKey = 128

	// maxNameValue bounds what is kept of a model's name: 4 KiB, far more
	// than any model has.
	maxNameValue = 4 << 10

	// OrdinaryName is as long as keys and names mostly are.
	OrdinaryName = 64

	// Overlong stands for a name that takes more than that. Of what spaces
	// Ollama would take off it, nobody knows what is left.
	Overlong = "\x00"
)

// Names are what a JSON body says that decides over it: the models, by the keys
// under which Ollama looks for them, and whether the answer is to be a stream.
type Names struct {
	Model, name, source, destination, from, RemoteHost string

	// Exact is the last model whose key is "model" in just these letters.
	// By it Ollama decides under /v1 whether a request goes to ollama.com,
	// before it reads the body as it does everywhere else.
	Exact string

	Stream bool // the body asks for one

	// WebSearch is set if one of the body's tools is of a type that Ollama
	// runs itself, and longTool if one is of a type too long to tell. A later
	// key of the same name does not take it back: encoding/json may decode
	// into what an earlier one has left behind.
	WebSearch, LongTool bool

	// Unreadable is set if the body is no JSON object, or one of the names no
	// string: Ollama will refuse it, but nobody can say what it names.
	Unreadable bool
}

// field is what a key of the body stands for.
type field int

const (
	noField field = iota
	modelField
	nameField
	sourceField
	destinationField
	fromField
	remoteHostField
	streamField
	toolsField
	typeField // of a tool
)

var fields = [...][]byte{
	modelField: []byte("model"), nameField: []byte("name"), sourceField: []byte("source"),
	destinationField: []byte("destination"), fromField: []byte("from"), remoteHostField: []byte("remote_host"), streamField: []byte("stream"),
	toolsField: []byte("tools"), typeField: []byte("type"),
}

// fieldOf takes letter case and folding as encoding/json does, which Ollama
// reads with. The keys of a tool are others than those of the body.
func fieldOf(key []byte, ofTool bool) field {
	if len(key) == 0 {
		return noField
	}
	first := key[0] | ('a' - 'A') // as it is in lower case, if it is a letter
	from, to := modelField, toolsField
	if ofTool {
		from, to = toolsField, typeField
	}
	for f := from; f <= to; f++ {
		if (first == fields[f][0] || first >= utf8.RuneSelf) && bytes.EqualFold(key, fields[f]) {
			return f
		}
	}
	return noField
}

// isName reports whether the value is to be a string.
func (f field) isName() bool { return modelField <= f && f <= remoteHostField }

// hostedTool is how the types of the tools begin that Ollama runs itself.
const hostedTool = "web_search"

// isHosted reports whether Ollama would run a tool of that type itself. Some
// versions go by the whole word, others by how it begins, and some let space
// stand before it. Letter case counts for all of them; nobody means another
// thing by it.
func isHosted(toolType string) bool {
	toolType = strings.TrimSpace(toolType)
	return len(toolType) >= len(hostedTool) && strings.EqualFold(toolType[:len(hostedTool)], hostedTool)
}

func (n *Names) set(f field, value string) {
	switch f {
	case modelField:
		n.Model = value
	case nameField:
		n.name = value
	case sourceField:
		n.source = value
	case destinationField:
		n.destination = value
	case fromField:
		n.from = value
	case remoteHostField:
		n.RemoteHost = value
	case typeField:
		n.WebSearch = n.WebSearch || isHosted(value)
		n.LongTool = n.LongTool || value == Overlong
	}
}

// Scanner finds the names in a JSON body as it passes, in pieces of any
// size. It keeps to what encoding/json makes of a body that it accepts:
// the last of several keys wins in any letter case, null changes nothing,
// escapes count, and whatever follows the first value does not. Of a body that
// encoding/json refuses, it may make anything.
type Scanner struct {
	Names Names
	state readState
	depth int    // of what is skipped
	Kept  []byte // of the key or the value that is being read, with its quotes

	// A tool may have tools of its own. tools is how many of them, one in the
	// other, the object is inside whose keys are read, and 0 in the body
	// itself; inTools, that it is between the tools of that object.
	tools   int
	inTools bool

	// Of the value that is being read.
	field field
	exact bool // its key is "model" in just these letters
}

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

// Read takes the next bytes. It reports whether the first JSON value is
// complete, and how many of the bytes belong to it.
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
				r.Kept = append(r.Kept[:0], c)
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
			r.keep(b[i : i+1])
			r.state-- // back into the string
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
			r.keep(b[i : i+1])
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

// beginNested goes one object or list deeper. A tool's object is read, all else is
// skipped.
func (r *Scanner) beginNested(c byte) {
	if r.inTools && r.depth == 0 && c == '{' {
		r.inTools, r.state = false, beforeKey
		r.tools++
		return
	}
	r.depth++
}

func (r *Scanner) endNested() {
	switch {
	case r.depth > 0:
		r.depth--
		if r.depth == 0 && !r.inTools {
			r.state = afterValue
		}
	case r.inTools: // the end of the list of tools
		r.inTools, r.state = false, afterValue
	}
}

// endObject ends an object whose keys are read. It reports whether that was the
// body's.
func (r *Scanner) endObject() bool {
	if r.tools > 0 {
		r.tools--
		r.inTools, r.state = true, inNested
		return false
	}
	r.state = afterObject
	return true
}

// readString goes on in a string up to its end, or the end of b, and returns
// how far it got.
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
			r.keep(b)
			r.state++ // the escape goes on in the next piece
			return len(b)
		case quote == len(b):
			r.keep(b)
			return len(b)
		default:
			r.keep(b[:quote+1])
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

func (r *Scanner) keep(b []byte) {
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
	if room := limit + 1 - len(r.Kept); len(b) > room {
		b = b[:room]
	}
	r.Kept = append(r.Kept, b...)
}

func (r *Scanner) endKey() {
	r.state, r.field, r.exact = beforeColon, noField, false
	if len(r.Kept) > maxNameKey {
		return
	}
	if key, ok := unquote(r.Kept); ok {
		r.field, r.exact = fieldOf(key, r.tools > 0), r.tools == 0 && string(key) == "model"
	}
}

// unquote reads a JSON string. Most are as plain as they look.
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

func (r *Scanner) beginValue(c byte) int {
	r.Kept = r.Kept[:0]
	switch {
	case isSpace(c):
	case c == '"':
		r.state = inString
		r.keep([]byte{c})
	case c == '{' || c == '[':
		if r.field.isName() {
			r.Names.Unreadable = true
		}
		r.state, r.depth = inNested, 1
		if r.field == toolsField && c == '[' {
			r.inTools, r.depth = true, 0
		}
	case c == ',' || c == '}':
		r.state = afterValue // no value: Ollama refuses that
		return 0
	default:
		r.state = inLiteral
		return 0
	}
	return 1
}

func (r *Scanner) endString() {
	r.state = afterValue
	if !r.field.isName() && r.field != typeField {
		return
	}
	value, ok := Overlong, false
	if len(r.Kept) <= maxNameValue {
		var text []byte
		text, ok = unquote(r.Kept)
		value = string(text)
	}
	r.Names.set(r.field, value)
	if r.exact {
		r.Names.Exact = value
	}
	if !ok && r.field.isName() {
		r.Names.Unreadable = true
	}
}

func (r *Scanner) endLiteral() {
	r.state = afterValue
	switch literal := string(r.Kept); {
	case r.field.isName() && literal != "null":
		r.Names.Unreadable = true
	case r.field == streamField && literal != "null":
		r.Names.Stream = literal == "true"
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }
