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

// query holds the fields of a request's body. Like Ollama, it decodes the model by encoding/json into a struct: of
// several keys that fold to "model" the last counts, null changes nothing, and what follows the first value is ignored.
// Fields that only some routes have are of type any, so that a value of another type is not an error on the others.
type query struct {
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

	messages    []message // on the routes that have them
	tools       []tool    // on the routes where Ollama has tools of its own
	noSource    bool      // nothing is given to create a model from
	remote      bool      // the model to create runs at ollama.com
	destination string    // of a copy
	format      string    // of a transcription
	audio       io.Reader // of a transcription
}

type tool struct {
	Type string `json:"type"`
}

type message struct {
	Role    string `json:"role"`
	Content any    `json:"content"`
}

// readQuery decodes the body as the route does, and sets x.fault.
func (x *exchange) readQuery() {
	if x.route.read != nil {
		x.query, x.bodyErr = x.route.read(x)
	}
	if x.bodyErr != nil {
		x.query = query{} // a body that is only partly valid names no model
	}
	for _, name := range []string{x.r.Header.Get(faultHeader), withoutTag(x.query.Model)} {
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
func readModel(x *exchange) (a query, err error) {
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

// cloudModel returns the model at ollama.com that a body names, or "". Under /v1 Ollama looks for one first, in a map:
// there only a key spelled exactly "model" counts, and only if nothing follows the first value of the body.
func cloudModel(body []byte) (model string) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(body, &fields) != nil || json.Unmarshal(fields["model"], &model) != nil {
		return ""
	}
	if !namesCloud(model) {
		return ""
	}
	return model
}

// readName reads a body of the routes on which the older key "name" counts if "model" is empty.
func readName(x *exchange) (query, error) {
	var body struct {
		query
		Name string `json:"name"`
	}
	err := x.decode(&body)
	body.Model = cmp.Or(body.Model, body.Name)
	return body.query, err
}

func readCreate(x *exchange) (query, error) {
	a, err := readName(x)
	var body struct {
		From       string
		RemoteHost string `json:"remote_host"`
		Files      map[string]string
	}
	if err == nil {
		err = x.decode(&body)
	}
	a.noSource = body.From == "" && len(body.Files) == 0
	a.remote = body.From != "" && (body.RemoteHost != "" || namesCloud(body.From))
	return a, err
}

func readCopy(x *exchange) (query, error) {
	var body struct{ Source, Destination string }
	err := x.decode(&body)
	return query{Model: body.Source, destination: body.Destination}, err
}

func readPath(x *exchange) (query, error) {
	_, model, _ := cutLast(x.r.URL.Path, "/")
	return query{Model: model}, nil
}

// readForm reads a multipart form as Ollama does, with FormValue: a model in the URL's query overrides the form's.
func readForm(x *exchange) (a query, err error) {
	x.r.Body = io.NopCloser(bytes.NewReader(x.body))
	// With a limit below the size of the body, which is in memory anyway, net/http would write it to disk.
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

// text returns the whole prompt.
func (a *query) text() string {
	var b strings.Builder
	appendText(&b, a.System)
	for _, m := range a.messages {
		appendText(&b, m.Content)
	}
	appendText(&b, a.Prompt)
	appendText(&b, a.Input)
	return b.String()
}

// appendText appends the texts in a part of a prompt, which each dialect nests differently.
func appendText(b *strings.Builder, v any) {
	switch v := v.(type) {
	case string:
		b.WriteString(v)
		b.WriteByte(' ')
	case []any:
		for _, e := range v {
			appendText(b, e)
		}
	case map[string]any:
		appendText(b, v["text"])
		appendText(b, v["content"])
	}
}

// limit returns the most tokens that the answer may have, or 0: no limit.
func (a *query) limit() int {
	for _, v := range []any{a.Options["num_predict"], a.MaxTokens, a.MaxOutput} {
		if n, ok := v.(float64); ok && n > 0 {
			return int(min(n, maxTokens))
		}
	}
	return 0
}
