package standin

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

const maxTokens = 1 << 20 // bounds the limit in a request, so that it cannot overflow; no answer is as long

const words = "Hello! I am not really %: I am the stand-in that answers when no Ollama is around. " +
	"I say the same whatever you ask, one word at a time, with the pauses of a small model on a small machine. " +
	"The keys, the limits, the metrics and the stream that brings you these words are real, though, " +
	"so whatever works with me will work with a model behind it."

// answer is the text that a model generates for one request, before it is encoded in a dialect.
type answer struct {
	model   string // as the client spelled it
	created time.Time
	tokens  []string
	reason  string // why it ended: stop or length; "" if it ends without a reason
	prompt  int    // tokens
	took    time.Duration
}

// encoder encodes an answer in one dialect. Each slice that its methods return is one HTTP chunk.
type encoder interface {
	header(http.Header)
	token(string) [][]byte
	end() [][]byte
	killed() [][]byte // what Ollama sends when its runner dies midway; nil: nothing
	failed() [][]byte // an error of the dialect
	whole() any       // the answer that is not streamed
}

func (x *exchange) newAnswer() *answer {
	text := strings.Replace(words, "%", withoutTag(x.query.Model), 1)
	a := &answer{
		model:   x.query.Model,
		created: time.Now().UTC(),
		tokens:  tokens(text),
		prompt:  len(strings.Fields(x.query.text())) + 1, // one for the token that begins every prompt
		reason:  "stop",
	}
	switch x.fault {
	case "long":
		a.tokens = tokens(strings.Repeat(text+" ", longTokens/len(a.tokens)+1))[:longTokens]
	case "big":
		a.tokens = []string{strings.Repeat("big ", bigToken/4)}
	case "repeat":
		a.tokens = tokens(strings.Repeat("the ", 31)) // after as many repetitions Ollama ends an answer
		a.reason = ""
	case "runner-killed", "error-event":
		a.tokens = a.tokens[:len(a.tokens)/2]
	case "":
		if n := x.query.limit(); n > 0 && n < len(a.tokens) {
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

// counts returns the number of tokens in the prompt and in the answer. Ollama counts only complete answers.
func (a *answer) counts() (prompt, completion int) {
	if a.reason == "" {
		return 0, 0
	}
	return a.prompt, len(a.tokens)
}

// sendAnswer sends the answer: token by token if streamed, otherwise in one piece.
func (x *exchange) sendAnswer(a *answer, v encoder, streamed bool) {
	x.o.load(x.query.Model)
	if !streamed {
		x.sendWhole(a, v)
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

func (x *exchange) sendWhole(a *answer, v encoder) {
	if x.fault != "long" && !x.pause(len(a.tokens)-1) {
		return
	}
	a.took = time.Since(a.created)
	x.reply(http.StatusOK, v.whole())
}

// runnable reports whether the model of the request can answer it. If not, it answers with an error.
func (x *exchange) runnable() bool {
	switch name := Canonical(x.query.Model); {
	case x.bodyErr != nil:
		x.fail(http.StatusBadRequest, x.bodyErr.Error())
	case strings.TrimSpace(x.query.Model) == "" && !x.route.unnamed:
		x.fail(http.StatusBadRequest, "model is required")
	case name == "" && x.query.Model != "":
		x.fail(http.StatusBadRequest, "invalid model name")
	case x.fault == "" && (!x.o.has(name) || namesLocal(x.query.Model) && x.o.isRemote(name)):
		x.fail(http.StatusNotFound, x.notFound())
	default:
		return true
	}
	return false
}

// notFound returns the message of the route for a model that does not exist.
func (x *exchange) notFound() string {
	switch x.route.path {
	case "/api/embed", "/api/embeddings", "/v1/embeddings":
		if x.query.Model != "" {
			return fmt.Sprintf("model %q not found, try pulling it first", x.query.Model)
		}
	case "/api/show", "/v1/models/{}":
		return "model '" + Canonical(x.query.Model) + "' not found"
	}
	return "model '" + x.query.Model + "' not found"
}
