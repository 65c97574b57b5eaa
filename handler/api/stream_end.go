package api

// LastWord is the line or event with which a complete stream ends. A body that ends
// cleanly is no proof of that: if Ollama's runner dies, or repeats itself too often,
// Ollama ends the body as if all were well.
type LastWord uint8

const (
	NoLastWord  LastWord = iota // none is known: every end counts as complete
	doneTrue                    // a line with "done":true
	success                     // a line with "status":"success"
	doneMark                    // data: [DONE]
	messageStop                 // the event message_stop
	responseEnd                 // the event response.completed, or response.incomplete where a limit was reached
)

// Lines reports whether the last word belongs to a stream of JSON lines. Otherwise it
// belongs to one of server-sent events.
func (w LastWord) Lines() bool { return w == doneTrue || w == success }

// eventKind is what an event means for its stream. A line of JSON counts as an event.
type eventKind uint8

const (
	unnamed  eventKind = iota // it has no name: its data may have a type
	ordinary                  // more is to come
	final                     // the last word
	failing                   // an error: nothing more is to come
)

// kind returns the kind of an event by its name, or by the type in its data.
func (w LastWord) kind(name string) eventKind {
	switch {
	case name == "":
		return unnamed
	case name == "error",
		w == responseEnd && name == "response.failed":
		return failing
	case w == messageStop && name == "message_stop",
		w == responseEnd && (name == "response.completed" || name == "response.incomplete"):
		return final
	}
	return ordinary
}
