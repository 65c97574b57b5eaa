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

// vector returns the embedding of a text: a vector of length 1 that depends only on the text and the model.
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
func (a *query) inputs() ([]string, bool) {
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

// embedInputs returns the vectors of the inputs and the number of tokens. If ok is false, it has answered an error.
func (x *exchange) embedInputs() (vectors [][]float32, count int, ok bool) {
	if !x.runnable() {
		return nil, 0, false
	}
	texts, ok := x.query.inputs()
	if !ok {
		x.fail(http.StatusBadRequest, "invalid input type")
		return nil, 0, false
	}
	x.o.load(x.query.Model)
	vectors = [][]float32{}
	for _, text := range texts {
		vectors = append(vectors, vector(x.query.Model, text))
		count += len(strings.Fields(text)) + 1
	}
	return vectors, count, true
}

func (x *exchange) embed() {
	if vectors, count, ok := x.embedInputs(); ok {
		x.reply(http.StatusOK, map[string]any{
			"model": x.query.Model, "embeddings": vectors, "prompt_eval_count": count,
			"total_duration": loadTime + time.Since(x.start), "load_duration": loadTime,
		})
	}
}

// embedOne answers the older route, which takes one prompt. Without a prompt it only loads the model.
func (x *exchange) embedOne() {
	if !x.runnable() {
		return
	}
	x.o.load(x.query.Model)
	v := []float32{}
	if text, _ := x.query.Prompt.(string); text != "" {
		v = vector(x.query.Model, text)
	}
	x.reply(http.StatusOK, map[string]any{"embedding": v})
}

type embedding struct {
	Object    string `json:"object"`
	Embedding any    `json:"embedding"` // numbers, or text of base64
	Index     int    `json:"index"`
}

func (x *exchange) embedOpenAI() {
	format, _ := x.query.Encoding.(string)
	base64ed := strings.EqualFold(format, "base64")
	list, _ := x.query.Input.([]any)
	switch {
	case x.bodyErr != nil: // embedInputs answers
	case format != "" && !base64ed && !strings.EqualFold(format, "float"):
		x.fail(http.StatusBadRequest, fmt.Sprintf(
			"Invalid value for 'encoding_format' = %s. Supported values: ['float', 'base64'].", format))
		return
	case x.fault == "" && (x.query.Input == nil || list != nil && len(list) == 0):
		x.fail(http.StatusBadRequest, "invalid input")
		return
	}
	vectors, count, ok := x.embedInputs()
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
		"object": "list", "data": data, "model": x.query.Model,
		"usage": map[string]int{"prompt_tokens": count, "total_tokens": count},
	})
}

// transcribe returns the same text for every recording.
func (x *exchange) transcribe() {
	if !x.runnable() {
		return
	}
	if n, _ := io.Copy(io.Discard, x.query.audio); n == 0 {
		x.fail(http.StatusBadRequest, "audio file is empty")
		return
	}
	x.o.load(x.query.Model)
	a := x.newAnswer()
	if x.query.format == "text" {
		x.send(http.StatusOK, "text/plain", []byte(a.text()))
		return
	}
	x.reply(http.StatusOK, map[string]string{"text": a.text()})
}
