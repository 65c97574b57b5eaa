package standin

import (
	"net/http"
	"time"
)

// nativeLine is one line of /api/chat, with a message, or of /api/generate, with a response. The fields are in Ollama's
// order.
type nativeLine struct {
	Model     string       `json:"model"`
	CreatedAt time.Time    `json:"created_at"`
	Message   *chatMessage `json:"message,omitempty"`
	Response  *string      `json:"response,omitempty"`
	Done      bool         `json:"done"`
	Reason    string       `json:"done_reason,omitempty"`
	Context   []int        `json:"context,omitempty"`

	TotalDuration      time.Duration `json:"total_duration,omitempty"`
	LoadDuration       time.Duration `json:"load_duration,omitempty"`
	PromptEvalCount    int           `json:"prompt_eval_count,omitempty"`
	PromptEvalDuration time.Duration `json:"prompt_eval_duration,omitempty"`
	EvalCount          int           `json:"eval_count,omitempty"`
	EvalDuration       time.Duration `json:"eval_duration,omitempty"`
}

type chatMessage struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// The time to load a model, and to evaluate a short prompt.
const (
	loadTime   = 41 * time.Millisecond
	promptTime = 12 * time.Millisecond
)

type nativeEncoder struct {
	*answer
	chat bool
}

func (x *exchange) chat()     { x.nativeAnswer(true, len(x.query.messages) == 0) }
func (x *exchange) generate() { x.nativeAnswer(false, x.query.Prompt == nil || x.query.Prompt == "") }

func (x *exchange) nativeAnswer(chat, empty bool) {
	if !x.runnable() {
		return
	}
	v := nativeEncoder{x.newAnswer(), chat}
	// Without a prompt, Ollama only loads or unloads the model. `ollama run` begins with such a request.
	if empty && x.fault == "" {
		line := v.line("", true)
		line.Reason = "load"
		if x.query.KeepAlive == float64(0) {
			line.Reason = "unload"
			x.o.unload(x.query.Model)
		} else {
			x.o.load(x.query.Model)
		}
		x.reply(http.StatusOK, line)
		return
	}
	x.sendAnswer(v.answer, v, x.query.Stream == nil || *x.query.Stream)
}

func (v nativeEncoder) header(h http.Header) { h.Set("Content-Type", "application/x-ndjson") }

func (v nativeEncoder) line(text string, done bool) nativeLine {
	l := nativeLine{Model: v.model, CreatedAt: time.Now().UTC(), Done: done}
	if v.chat {
		l.Message = &chatMessage{"assistant", text}
	} else {
		l.Response = &text
	}
	return l
}

// last returns the last line, which has the counts. Text is empty unless it is the only line.
func (v nativeEncoder) last(text string) nativeLine {
	l := v.line(text, v.reason != "")
	if !l.Done {
		return l
	}
	l.Reason = v.reason
	l.LoadDuration, l.PromptEvalDuration, l.EvalDuration = loadTime, promptTime, max(v.took, 1)
	l.TotalDuration = l.LoadDuration + l.PromptEvalDuration + l.EvalDuration
	l.PromptEvalCount, l.EvalCount = v.counts()
	if !v.chat {
		for i := range l.PromptEvalCount + l.EvalCount {
			l.Context = append(l.Context, 1000+i)
		}
	}
	return l
}

func (v nativeEncoder) token(text string) [][]byte { return [][]byte{ndjson(v.line(text, false))} }
func (v nativeEncoder) end() [][]byte              { return [][]byte{ndjson(v.last(""))} }
func (v nativeEncoder) killed() [][]byte {
	return [][]byte{ndjson(map[string]string{"error": killedMessage})}
}
func (v nativeEncoder) failed() [][]byte { return v.killed() }
func (v nativeEncoder) whole() any       { return v.last(v.text()) }

func ndjson(v any) []byte { return append(encode(v), '\n') }
