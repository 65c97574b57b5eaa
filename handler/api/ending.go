package api

import (
	"bytes"
	"errors"
)

// ending follows a stream, to tell at its end whether it is whole. It reads the
// stream as clients do: line by line, and in events of one or more lines. What a
// model wrote cannot pass for more than text: it stands in JSON strings, or
// deeper than where the last word does.
//
// Each chunk is looked at once, as it passes, and nothing is kept of it. A short
// line that says that it is not the last word is not even read, unless nothing
// follows it: then it may be an error. It still stands in the tail then.
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

	unread  int    // how far from the tail's end the line begins that was not read; 0: none
	waiting []byte // what begins with that line, while a chunk is being looked at
}

func (e *ending) Expect(w LastWord) { *e = ending{word: w, object: object{word: w}} }

// longestUnread is how long a line may be that is left for later: 512 bytes. With
// what may follow it it fits into the tail.
const longestUnread = 512

// add looks at what has been passed on. The tail is of what came before.
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

// cutAtCR cuts a line off b where CR or CRLF ends it. Up to LF it is line, and
// after follows.
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

// canWait reports whether a line need not be read now: it holds data, is not the
// last word, and the tail holds it if nothing follows.
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

// hasNumber reports whether the data of an event has a number where it usually
// stands: before the last member, or behind a type that is the first.
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

// endData takes the data of an event. Some servers send [DONE] in each dialect;
// it is the last word in one.
func (e *ending) endData(isMark bool) {
	switch {
	case !isMark:
		e.endEvent()
	case e.word == doneMark:
		e.settle()
		e.whole = true
	}
}

// endEvent takes an event, now that its data is there.
func (e *ending) endEvent() {
	e.settle()
	e.conclude(e.event, &e.object)
}

// settle reads the line that was left, if there is one.
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

// conclude draws the conclusions from an event.
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

// left is what the tail holds from the line on that was left.
func (e *ending) left(t *Tail) []byte {
	if e.unread == 0 {
		return nil
	}
	return t.bytes[t.N-e.unread : t.N]
}

// Verdict says how the stream has ended: well if the error is nil. Of JSON lines
// the last one needs no end, as clients see it.
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

// Finish reads what was left when no more is to come.
func (e *ending) Finish(t *Tail) {
	e.waiting = e.left(t)
	e.unread = 0
	e.settle()
}

var ErrTruncated = errors.New("the stream ended without its last word")

var ErrReported = errors.New("the stream ended with an error of Ollama's own")
