package api

import (
	"bytes"
	"errors"
)

// ending is a parser that follows a stream and tells at its end whether the stream was
// complete. It reads the stream as clients do: line by line, and in events of one or more
// lines. A model cannot forge a last word: its text stands in JSON strings, or deeper in
// the JSON than the last word does.
//
// Each chunk is read once, as it passes, and not kept. A short line that cannot be the
// last word is skipped. If no line follows it, it may be an error after all, and is read
// then, from the tail.
type ending struct {
	word LastWord

	whole  bool  // the last word has come
	failed bool  // the last event before it, or after it, was an error
	Next   int64 // sequence_number of the next event; 0 if there are none

	inLine  bool // the line has begun
	afterCR bool // a line has ended with CR: LF is then no line of its own
	hasData bool // the event has data
	event   eventKind
	object  object // in the event's data
	field   [5]byte
	value   [24]byte // of the field, or its beginning
	fieldN  uint8
	valueN  uint8 // more than there is room for: it is longer

	unread  int    // bytes from the start of the skipped line to the tail's end; 0: none
	waiting []byte // the skipped line and what follows it, while a chunk is being read
}

// Expect starts a new stream, which is to end with the last word.
func (e *ending) Expect(w LastWord) { *e = ending{word: w, object: object{word: w}} }

// longestUnread is the length up to which a line may be skipped: 512 bytes. Such a line,
// and what may follow it, fits into the tail.
const longestUnread = 512

// add reads a chunk of the stream. The tail holds the bytes before the chunk.
func (e *ending) add(chunk []byte, before *Tail) {
	if e.word == NoLastWord || len(chunk) == 0 {
		return
	}
	e.waiting = e.left(before)
	unread := -1 // where in the chunk
	rest := chunk
	if e.afterCR && rest[0] == '\n' {
		rest = rest[1:]
	}
	e.afterCR = false
	hasCR := bytes.IndexByte(rest, '\r') >= 0
	for len(rest) > 0 {
		line, after, ended := rest, rest[len(rest):], false
		if i := bytes.IndexByte(rest, '\n'); i >= 0 {
			line, after, ended = rest[:i], rest[i+1:], true
		}
		if hasCR {
			line, after, ended = e.cutAtCR(rest, line, after, ended)
		}
		switch {
		case !ended || e.inLine:
			e.read(line)
			if ended {
				e.endLine()
			}
		case e.canWait(line):
			e.waiting, unread = line, len(chunk)-len(rest)
			e.hasData = true
		default:
			e.line(line)
		}
		rest = after
	}
	switch {
	case e.waiting == nil:
		e.unread = 0
	case unread >= 0:
		e.unread = len(chunk) - unread
	default:
		e.unread += len(chunk)
	}
	if e.unread > tailLen {
		e.settle()
		e.unread = 0
	}
	e.waiting = nil
}

// cutAtCR cuts the first line off b if a CR or CRLF ends it. Line and after are the parts
// of b before and behind its first LF.
func (e *ending) cutAtCR(b, line, after []byte, ended bool) ([]byte, []byte, bool) {
	i := bytes.IndexByte(line, '\r')
	switch {
	case i < 0:
		return line, after, ended
	case ended && i == len(line)-1:
		return line[:i], after, true
	}
	after = b[i+1:]
	e.afterCR = len(after) == 0
	return line[:i], after, true
}

// canWait reports whether a line can be skipped: it has data, is not the last word, and
// is short enough to be read from the tail later.
func (e *ending) canWait(line []byte) bool {
	if len(line) > longestUnread || len(line) == 0 || line[len(line)-1] != '}' {
		return false
	}
	switch e.word {
	case doneTrue:
		return line[0] == '{' && bytes.HasSuffix(line, notDone)
	case success:
		return false
	}
	if !bytes.HasPrefix(line, dataObject) {
		return false
	}
	switch e.word {
	case doneMark:
		return e.event == unnamed || e.event == ordinary
	case responseEnd:
		return e.event == ordinary && hasNumber(line)
	}
	return e.event == ordinary
}

// hasNumber reports whether the data of an event has a sequence_number where OpenAI and
// Ollama put it: as the last member, or right after a type that comes first.
func hasNumber(line []byte) bool {
	if rest, ok := bytes.CutPrefix(line, typeFirst); ok {
		return bytes.HasPrefix(rest[bytes.IndexByte(rest, '"')+1:], numberKey)
	}
	i := bytes.LastIndexByte(line, ',')
	for i > 0 && '0' <= line[i-1] && line[i-1] <= '9' {
		i--
	}
	return i > 0 && bytes.HasSuffix(line[:i], numberKey)
}

var (
	// It can only be a member of the outermost object: no string ends in }, and no
	// object within is the last to be closed.
	notDone    = []byte(`,"done":false}`)
	dataObject = []byte(`data: {`)
	typeFirst  = []byte(`data: {"type":"`)
	numberKey  = []byte(`,"sequence_number":`)
)

// endData handles the end of an event's data. Some servers send [DONE] in every dialect;
// in one of them it is the last word.
func (e *ending) endData(isMark bool) {
	switch {
	case !isMark:
		e.endEvent()
	case e.word == doneMark:
		e.settle()
		e.whole = true
	}
}

// endEvent handles an event whose data is complete.
func (e *ending) endEvent() {
	e.settle()
	e.conclude(e.event, &e.object)
}

// settle reads the line that was skipped, if there is one.
func (e *ending) settle() {
	if e.waiting == nil {
		return
	}
	line := e.waiting
	e.waiting = nil
	if end := bytes.IndexAny(line, "\r\n"); end >= 0 {
		line = line[:end]
	}
	o := object{word: e.word}
	o.read(bytes.TrimPrefix(line, dataObject[:len(dataObject)-1]))
	e.conclude(ordinary, &o)
}

// conclude notes what an event says about the stream: its last word, an error, or the
// number of the next event.
func (e *ending) conclude(named eventKind, o *object) {
	if o.isEmpty() && named == unnamed {
		return // an empty line
	}
	if !o.isWhole() {
		o = &object{} // nobody can read it
	}
	if o.numbered {
		e.Next = o.sequence + 1
	}
	if named == unnamed {
		named = o.typed
	}
	failed := named == failing || o.failed
	if named == final || o.last {
		e.whole = true
		failed = failed || e.failed // what was told before is not taken back
	}
	e.failed = failed
}

// left returns the end of the tail, from the start of the skipped line on.
func (e *ending) left(t *Tail) []byte {
	if e.unread == 0 {
		return nil
	}
	return t.bytes[t.N-e.unread : t.N]
}

// Verdict tells, once the body has ended, how the stream did. It returns nil if the stream
// was complete, [ErrReported] if its last event was an error, and [ErrTruncated] if the
// last word is missing. The last of several JSON lines needs no newline: clients read it
// without one.
func (e *ending) Verdict(t *Tail) error {
	if e.word == NoLastWord {
		return nil
	}
	e.Finish(t)
	if e.word.Lines() && e.inLine {
		e.endLine()
	}
	// An event that no blank line ends does not reach the client's program.
	told := e.failed && (e.whole || e.word.Lines() || !e.hasData)
	switch {
	case told:
		return ErrReported
	case !e.whole:
		return ErrTruncated
	}
	return nil
}

// Finish reads the line that was skipped, when no more is to come for now.
func (e *ending) Finish(t *Tail) {
	e.waiting = e.left(t)
	e.unread = 0
	e.settle()
}

// IsWhole reports whether the last word has come.
func (e *ending) IsWhole() bool { return e.whole }

// How a stream can end other than well, see Verdict.
var (
	ErrTruncated = errors.New("the stream ended without its last word")
	ErrReported  = errors.New("the stream ended with an error of Ollama's own")
)
