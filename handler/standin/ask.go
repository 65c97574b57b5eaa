package standin

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"mime/multipart"
	"strings"
)

// ask is what a body asks for. The model is decoded by encoding/json into a struct, since that is how Ollama does it:
// the last of several keys that fold to "model" wins, null changes nothing, and what follows the first value is
// ignored. Fields that some routes have and others ignore are any, so that a value of another type is no error.
type ask struct {
	Model         string         `json:"model"`
	Stream        *bool          `json:"stream"`
	Prompt        any            `json:"prompt"`
	Input         any            `json:"input"`
	System        any            `json:"system"`
	KeepAlive     any            `json:"keep_alive"`
	Options       map[string]any `json:"options"`
	MaxTokens     any            `json:"max_tokens"`
	MaxOutput     any            `json:"max_output_tokens"`
	Encoding      any            `json:"encoding_format"`
	StreamOptions *struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`

	messages    []message // of the routes that have them
	tools       []tool    // of the routes where some of them are Ollama's own
	nothing     bool      // to create a model from
	remote      bool      // the model to create is to run at ollama.com
	destination string    // of a copy
	format      string    // of a transcription
	audio       io.Reader // likewise
}

type tool struct {
	Type string `json:"type"`
}

type message struct {
	Role    string `json:"role"`
	Content any    `json:"content"`
}

// readAsk reads the body as the route does, and then knows whether the answer is to be a misbehaving one.
func (x *exchange) readAsk() {
	if x.route.read != nil {
		x.ask, x.unread = x.route.read(x)
	}
	if x.unread != nil {
		x.ask = ask{} // a body that is half right runs nothing
	}
	for _, name := range []string{x.r.Header.Get(faultHeader), bare(x.ask.Model)} {
		if faults[name] {
			x.fault = name
			return
		}
	}
}

func (x *exchange) decode(into any) error {
	err := json.NewDecoder(bytes.NewReader(x.body)).Decode(into)
	if errors.Is(err, io.EOF) && x.route.dialect == native {
		return errors.New("missing request body")
	}
	return err
}

// readModel reads a body that names its model in "model" alone.
func readModel(x *exchange) (a ask, err error) {
	if x.route.dialect != native && x.r.Header.Get("Content-Encoding") == "zstd" {
		return a, errors.New("failed to decompress zstd body")
	}
	err = x.decode(&a)
	switch x.route.path {
	case "/api/chat", "/v1/chat/completions", "/v1/messages":
		if err == nil {
			var body struct {
				Messages []message `json:"messages"`
			}
			err = x.decode(&body)
			a.messages = body.Messages
		}
	}
	switch x.route.path {
	case "/v1/messages", "/v1/responses":
		if err == nil {
			var body struct {
				Tools []tool `json:"tools"`
			}
			err = x.decode(&body)
			a.tools = body.Tools
		}
	}
	if x.route.dialect != native {
		a.Model = cmp.Or(cloudModel(x.body), a.Model)
	}
	return a, err
}

// cloudModel is the model at ollama.com that a body names, "" if none. Under /v1 Ollama looks for it first, in a map:
// only "model" in just these letters counts, and only if nothing follows the body's first value.
func cloudModel(body []byte) (model string) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(body, &fields) != nil || json.Unmarshal(fields["model"], &model) != nil {
		return ""
	}
	if !isCloud(model) {
		return ""
	}
	return model
}

// readName reads a body of the routes that take the older "name" where "model" is empty.
func readName(x *exchange) (ask, error) {
	var body struct {
		ask
		Name string `json:"name"`
	}
	err := x.decode(&body)
	body.Model = cmp.Or(body.Model, body.Name)
	return body.ask, err
}

func readCreate(x *exchange) (ask, error) {
	a, err := readName(x)
	var body struct {
		From       string
		RemoteHost string `json:"remote_host"`
		Files      map[string]string
	}
	if err == nil {
		err = x.decode(&body)
	}
	a.nothing = body.From == "" && len(body.Files) == 0
	a.remote = body.From != "" && (body.RemoteHost != "" || isCloud(body.From))
	return a, err
}

func readCopy(x *exchange) (ask, error) {
	var body struct{ Source, Destination string }
	err := x.decode(&body)
	return ask{Model: body.Source, destination: body.Destination}, err
}

func readPath(x *exchange) (ask, error) {
	_, model, _ := cutLast(x.r.URL.Path, "/")
	return ask{Model: model}, nil
}

// readForm reads a multipart form as Ollama does, with FormValue: a model in the URL's query comes before the form's.
func readForm(x *exchange) (a ask, err error) {
	x.r.Body = io.NopCloser(bytes.NewReader(x.body))
	// All of the body is in memory already; a limit below its size would put it on disk as well.
	if err := x.r.ParseMultipartForm(int64(len(x.body)) + 1); err != nil {
		return a, errors.New("failed to parse multipart form: " + err.Error())
	}
	a.Model, a.format = x.r.FormValue("model"), x.r.FormValue("response_format")
	a.audio, err = openFile(x.r.MultipartForm)
	return a, err
}

func openFile(form *multipart.Form) (io.Reader, error) {
	if files := form.File["file"]; len(files) > 0 {
		return files[0].Open()
	}
	return nil, errors.New("file is required: http: no such file")
}

// text is all that the model is asked to read.
func (a *ask) text() string {
	var b strings.Builder
	gather(&b, a.System)
	for _, m := range a.messages {
		gather(&b, m.Content)
	}
	gather(&b, a.Prompt)
	gather(&b, a.Input)
	return b.String()
}

// gather collects the texts of a prompt, which each dialect nests in its own way.
func gather(b *strings.Builder, v any) {
	switch v := v.(type) {
	case string:
		b.WriteString(v)
		b.WriteByte(' ')
	case []any:
		for _, e := range v {
			gather(b, e)
		}
	case map[string]any:
		gather(b, v["text"])
		gather(b, v["content"])
	}
}

// limit is how many tokens the answer may have, 0 if that is left open.
func (a *ask) limit() int {
	for _, v := range []any{a.Options["num_predict"], a.MaxTokens, a.MaxOutput} {
		if n, ok := v.(float64); ok && n > 0 {
			return int(min(n, maxTokens))
		}
	}
	return 0
}
