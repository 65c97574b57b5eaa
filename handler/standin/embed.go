package standin

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"time"
)

// vector returns the embedding of a text: of length 1, the same for the same text and model, and unlike any other.
func vector(model, text string) []float32 {
	sum := sha256.Sum256([]byte(Canonical(model) + "\n" + text))
	v := make([]float32, 8)
	var squares float64
	for i := range v {
		v[i] = float32(int8(sum[i])) + 0.5 // never all zeros
		squares += float64(v[i]) * float64(v[i])
	}
	for i := range v {
		v[i] /= float32(math.Sqrt(squares))
	}
	return v
}

// inputs returns the texts to embed, and false if the input is neither a text nor a list of texts.
func (a *ask) inputs() ([]string, bool) {
	switch in := a.Input.(type) {
	case nil:
		return nil, true
	case string:
		return []string{in}, true
	case []any:
		var texts []string
		for _, v := range in {
			text, ok := v.(string)
			if !ok {
				return nil, false
			}
			texts = append(texts, text)
		}
		return texts, true
	}
	return nil, false
}

// embedAll returns the vectors of the input and the tokens in it. If it cannot, it has answered with an error.
func (x *exchange) embedAll() (vectors [][]float32, count int, ok bool) {
	if !x.runnable() {
		return nil, 0, false
	}
	texts, ok := x.ask.inputs()
	if !ok {
		x.fail(http.StatusBadRequest, "invalid input type")
		return nil, 0, false
	}
	x.o.load(x.ask.Model)
	vectors = [][]float32{}
	for _, text := range texts {
		vectors = append(vectors, vector(x.ask.Model, text))
		count += len(strings.Fields(text)) + 1
	}
	return vectors, count, true
}

func (x *exchange) embed() {
	if vectors, count, ok := x.embedAll(); ok {
		x.reply(http.StatusOK, map[string]any{
			"model": x.ask.Model, "embeddings": vectors, "prompt_eval_count": count,
			"total_duration": loadTime + time.Since(x.start), "load_duration": loadTime,
		})
	}
}

// embedOne answers the older route, which takes one prompt; asked nothing it only loads the model.
func (x *exchange) embedOne() {
	if !x.runnable() {
		return
	}
	x.o.load(x.ask.Model)
	v := []float32{}
	if text, _ := x.ask.Prompt.(string); text != "" {
		v = vector(x.ask.Model, text)
	}
	x.reply(http.StatusOK, map[string]any{"embedding": v})
}

type embedding struct {
	Object    string `json:"object"`
	Embedding any    `json:"embedding"` // numbers, or text of base64
	Index     int    `json:"index"`
}

func (x *exchange) embedOpenAI() {
	format, _ := x.ask.Encoding.(string)
	base64ed := strings.EqualFold(format, "base64")
	list, _ := x.ask.Input.([]any)
	switch {
	case x.unread != nil: // embedAll says so
	case format != "" && !base64ed && !strings.EqualFold(format, "float"):
		x.fail(http.StatusBadRequest, fmt.Sprintf(
			"Invalid value for 'encoding_format' = %s. Supported values: ['float', 'base64'].", format))
		return
	case x.fault == "" && (x.ask.Input == nil || list != nil && len(list) == 0):
		x.fail(http.StatusBadRequest, "invalid input")
		return
	}
	vectors, count, ok := x.embedAll()
	if !ok {
		return
	}
	data := []embedding{}
	for i, v := range vectors {
		e := embedding{Object: "embedding", Embedding: v, Index: i}
		if base64ed {
			var b bytes.Buffer
			binary.Write(&b, binary.LittleEndian, v)
			e.Embedding = base64.StdEncoding.EncodeToString(b.Bytes())
		}
		data = append(data, e)
	}
	x.reply(http.StatusOK, map[string]any{
		"object": "list", "data": data, "model": x.ask.Model,
		"usage": map[string]int{"prompt_tokens": count, "total_tokens": count},
	})
}

// transcribe hears the same words in every recording.
func (x *exchange) transcribe() {
	if !x.runnable() {
		return
	}
	if n, _ := io.Copy(io.Discard, x.ask.audio); n == 0 {
		x.fail(http.StatusBadRequest, "audio file is empty")
		return
	}
	x.o.load(x.ask.Model)
	a := x.newAnswer()
	if x.ask.format == "text" {
		x.send(http.StatusOK, "text/plain", []byte(a.text()))
		return
	}
	x.reply(http.StatusOK, map[string]string{"text": a.text()})
}
