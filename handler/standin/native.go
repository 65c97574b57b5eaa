package standin

import (
	"net/http"
	"time"
)

// nativeLine is one line of /api/chat, which has a message, or /api/generate, which has a response; its fields are
// in Ollama's order.
type nativeLine struct {
	Model     string    `json:"model"`
	CreatedAt time.Time `json:"created_at"`
	Message   *said     `json:"message,omitempty"`
	Response  *string   `json:"response,omitempty"`
	Done      bool      `json:"done"`
	Reason    string    `json:"done_reason,omitempty"`
	Context   []int     `json:"context,omitempty"`

	TotalDuration      time.Duration `json:"total_duration,omitempty"`
	LoadDuration       time.Duration `json:"load_duration,omitempty"`
	PromptEvalCount    int           `json:"prompt_eval_count,omitempty"`
	PromptEvalDuration time.Duration `json:"prompt_eval_duration,omitempty"`
	EvalCount          int           `json:"eval_count,omitempty"`
	EvalDuration       time.Duration `json:"eval_duration,omitempty"`
}

type said struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// What a model at rest needs to be loaded and to read a short prompt.
const (
	loadTime   = 41 * time.Millisecond
	promptTime = 12 * time.Millisecond
)

type nativeVoice struct {
	*answer
	chat bool
}

func (x *exchange) chat()     { x.nativeAnswer(true, len(x.ask.messages) == 0) }
func (x *exchange) generate() { x.nativeAnswer(false, x.ask.Prompt == nil || x.ask.Prompt == "") }

func (x *exchange) nativeAnswer(chat, empty bool) {
	if !x.runnable() {
		return
	}
	v := nativeVoice{x.newAnswer(), chat}
	// Asked nothing, Ollama loads the model, or unloads it, and says so at once. `ollama run` begins with that.
	if empty && x.fault == "" {
		line := v.line("", true)
		line.Reason = "load"
		if x.ask.KeepAlive == float64(0) {
			line.Reason = "unload"
			x.o.unload(x.ask.Model)
		} else {
			x.o.load(x.ask.Model)
		}
		x.reply(http.StatusOK, line)
		return
	}
	x.say(v.answer, v, x.ask.Stream == nil || *x.ask.Stream)
}

func (v nativeVoice) header(h http.Header) { h.Set("Content-Type", "application/x-ndjson") }

func (v nativeVoice) line(text string, done bool) nativeLine {
	l := nativeLine{Model: v.model, CreatedAt: time.Now().UTC(), Done: done}
	if v.chat {
		l.Message = &said{"assistant", text}
	} else {
		l.Response = &text
	}
	return l
}

// last returns the line that carries the counts, with text if it is the only one.
func (v nativeVoice) last(text string) nativeLine {
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

func (v nativeVoice) token(text string) [][]byte { return [][]byte{ndjson(v.line(text, false))} }
func (v nativeVoice) end() [][]byte              { return [][]byte{ndjson(v.last(""))} }
func (v nativeVoice) killed() [][]byte {
	return [][]byte{ndjson(map[string]string{"error": killedMessage})}
}
func (v nativeVoice) failed() [][]byte { return v.killed() }
func (v nativeVoice) whole() any       { return v.last(v.text()) }

func ndjson(v any) []byte { return append(encode(v), '\n') }
