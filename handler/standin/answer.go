package standin

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

const maxTokens = 1 << 20 // that a request may ask for; bounds the arithmetic, no answer comes near it

const words = "Hello! I am not really %: I am the stand-in that answers when no Ollama is around. " +
	"I say the same whatever you ask, one word at a time, with the pauses of a small model on a small machine. " +
	"The keys, the limits, the metrics and the stream that brings you these words are real, though, " +
	"so whatever works with me will work with a model behind it."

// answer is what a model says to one request, in whatever dialect.
type answer struct {
	model   string // as the client spelled it
	created time.Time
	tokens  []string
	reason  string // why it ended: stop or length; "" while it has not, and for good if it ends silently
	prompt  int    // tokens
	took    time.Duration
}

// voice says an answer in one dialect. Each slice that its methods return is one HTTP chunk.
type voice interface {
	header(http.Header)
	token(string) [][]byte
	end() [][]byte
	killed() [][]byte // what shows when the runner dies midway, if anything does
	failed() [][]byte // an error, told in the dialect
	whole() any       // the answer in one piece
}

func (x *exchange) newAnswer() *answer {
	text := strings.Replace(words, "%", bare(x.ask.Model), 1)
	a := &answer{
		model:   x.ask.Model,
		created: time.Now().UTC(),
		tokens:  tokens(text),
		prompt:  len(strings.Fields(x.ask.text())) + 1, // and the one that begins every prompt
		reason:  "stop",
	}
	switch x.fault {
	case "long":
		a.tokens = tokens(strings.Repeat(text+" ", longTokens/len(a.tokens)+1))[:longTokens]
	case "big":
		a.tokens = []string{strings.Repeat("big ", bigToken/4)}
	case "repeat":
		a.tokens = tokens(strings.Repeat("the ", 31)) // as many as Ollama puts up with
		a.reason = ""
	case "runner-killed", "error-event":
		a.tokens = a.tokens[:len(a.tokens)/2]
	case "":
		if n := x.ask.limit(); n > 0 && n < len(a.tokens) {
			a.tokens, a.reason = a.tokens[:n], "length"
		}
	}
	return a
}

// tokens splits text into words, each with the space before it, as models do.
func tokens(text string) []string {
	t := strings.Fields(text)
	for i := range t[1:] {
		t[i+1] = " " + t[i+1]
	}
	return t
}

func (a *answer) text() string { return strings.Join(a.tokens, "") }

// counts returns the tokens of the prompt and of the answer. Ollama counts only what came to its end.
func (a *answer) counts() (prompt, completion int) {
	if a.reason == "" {
		return 0, 0
	}
	return a.prompt, len(a.tokens)
}

// say sends the answer: token by token if streamed, or in one piece.
func (x *exchange) say(a *answer, v voice, streamed bool) {
	x.o.load(x.ask.Model)
	if !streamed {
		x.sayWhole(a, v)
		return
	}

	closing := v.end
	switch x.fault {
	case "runner-killed":
		closing = v.killed
	case "error-event":
		closing = v.failed
	case "repeat":
		closing = func() [][]byte { return nil }
	}
	silent := x.fault == "repeat" || x.fault == "runner-killed" && v.killed() == nil

	v.header(x.w.Header())
	s := &stream{x: x}
	for i, t := range a.tokens {
		if i > 0 && x.fault != "long" && !x.pause(1) {
			return
		}
		if !s.send(silent && i == len(a.tokens)-1, v.token(t)...) {
			return
		}
	}
	a.took = time.Since(a.created)
	s.send(true, closing()...)
}

func (x *exchange) sayWhole(a *answer, v voice) {
	if x.fault != "long" && !x.pause(len(a.tokens)-1) {
		return
	}
	a.took = time.Since(a.created)
	x.reply(http.StatusOK, v.whole())
}

// runnable reports whether the request can be answered by its model, and answers it if not.
func (x *exchange) runnable() bool {
	switch name := Canonical(x.ask.Model); {
	case x.unread != nil:
		x.fail(http.StatusBadRequest, x.unread.Error())
	case strings.TrimSpace(x.ask.Model) == "" && !x.route.unnamed:
		x.fail(http.StatusBadRequest, "model is required")
	case name == "" && x.ask.Model != "":
		x.fail(http.StatusBadRequest, "invalid model name")
	case x.fault == "" && (!x.o.has(name) || isLocal(x.ask.Model) && x.o.isRemote(name)):
		x.fail(http.StatusNotFound, x.notFound())
	default:
		return true
	}
	return false
}

// notFound is how the route says that a model is not there.
func (x *exchange) notFound() string {
	switch x.route.path {
	case "/api/embed", "/api/embeddings", "/v1/embeddings":
		if x.ask.Model != "" {
			return fmt.Sprintf("model %q not found, try pulling it first", x.ask.Model)
		}
	case "/api/show", "/v1/models/{}":
		return "model '" + Canonical(x.ask.Model) + "' not found"
	}
	return "model '" + x.ask.Model + "' not found"
}
