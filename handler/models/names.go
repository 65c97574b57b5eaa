package models

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

const (
	// maxNameKey is more bytes than the longest key of interest takes with each of its
	// letters escaped.
	maxNameKey = 128

	// maxNameValue is the longest name that is kept, in bytes with its escapes: 4 KiB,
	// far more than any model's.
	maxNameValue = 4 << 10

	// UsualNameLen is as many bytes as most keys and names have at most: a good size for
	// Scanner.Buffer.
	UsualNameLen = 64

	// TooLong stands for a name of more than 4 KiB. It cannot be judged by its
	// beginning, because Ollama may trim spaces from it.
	TooLong = "\x00"
)

// Names is what a JSON body says about how it must be treated: the models, by the keys
// under which Ollama looks for them, and whether the response is to be a stream. A name
// that is not there is "".
type Names struct {
	Model, name, source, destination, from, RemoteHost string

	// Exact is the last value whose key is "model" in exactly these letters. Under /v1,
	// Ollama decides by it whether a request goes to ollama.com, before it reads the
	// body as it does elsewhere.
	Exact string

	Stream bool // the value of "stream"

	// WebSearch is set if a tool in the body is of a type that Ollama runs itself, and
	// LongTool if the type of one has more than 4 KiB, so that nobody can tell. A later
	// key of the same name does not clear them, because encoding/json may decode into
	// what an earlier one has left behind.
	WebSearch, LongTool bool

	// Unreadable is set if the body is not a JSON object, or one of the names is not a
	// string. Ollama will refuse the body, but what it names is not known.
	Unreadable bool
}

// field is the meaning of a key in the body.
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

// fields are the keys, in lower case.
var fields = [...][]byte{
	modelField: []byte("model"), nameField: []byte("name"), sourceField: []byte("source"),
	destinationField: []byte("destination"), fromField: []byte("from"), remoteHostField: []byte("remote_host"), streamField: []byte("stream"),
	toolsField: []byte("tools"), typeField: []byte("type"),
}

// fieldOf compares a key as encoding/json does for Ollama: in any letter case, and with
// Unicode's folding. The keys of a tool are not those of the body.
func fieldOf(key []byte, ofTool bool) field {
	if len(key) == 0 {
		return noField
	}
	first := key[0] | ('a' - 'A') // in lower case, if it is a letter
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

// isName reports whether the value is a name, which must be a string.
func (f field) isName() bool { return modelField <= f && f <= remoteHostField }

// hostedTool is how the types of the tools begin that Ollama runs itself.
const hostedTool = "web_search"

// isHosted reports whether any version of Ollama would run a tool of this type itself.
// Some versions compare the whole word and some its beginning, and some ignore spaces
// before it. All of them are case-sensitive; isHosted is not, because nothing else is
// meant by other cases.
func isHosted(toolType string) bool {
	toolType = strings.TrimSpace(toolType)
	return len(toolType) >= len(hostedTool) && strings.EqualFold(toolType[:len(hostedTool)], hostedTool)
}

// setField stores the value of a name, or judges the type of a tool.
func (n *Names) setField(f field, value string) {
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
		n.LongTool = n.LongTool || value == TooLong
	}
}
