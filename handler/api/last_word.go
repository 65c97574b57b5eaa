package api

// LastWord is what ends a stream that is whole. Whether the body came to a clean
// end says nothing: when Ollama's runner dies, or repeats itself too often,
// Ollama just ends it.
type LastWord uint8

const (
	NoLastWord  LastWord = iota // none is known: the stream is taken as it is
	doneTrue                    // a line with "done":true
	success                     // a line with "status":"success"
	doneMark                    // data: [DONE]
	messageStop                 // the event message_stop
	responseEnd                 // the event response.completed, or response.incomplete where a limit was reached
)

// Lines reports whether it ends a stream of JSON lines; else it ends one of
// server-sent events.
func (w LastWord) Lines() bool { return w == doneTrue || w == success }

// eventKind is what an event is to the stream that it is in. A line of JSON is an
// event too.
type eventKind uint8

const (
	unnamed  eventKind = iota // what it is stands in its data, if anywhere
	ordinary                  // more is to come
	final                     // the last word
	failing                   // an error: nothing more is to come
)

// kind tells an event by its name, or by the type in its data.
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
