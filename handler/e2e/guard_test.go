package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

// formOf is a multipart form with a field, and a file that has a name of its
// own.
func formOf(field, model string) (body, contentType string) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	file, _ := w.CreateFormFile("file", "model")
	io.WriteString(file, "RIFF")
	w.WriteField(field, model)
	w.Close()
	return b.String(), w.FormDataContentType()
}

// TestCheckedModelIsTheModelThatRuns: a key for tiny and qwen3:* tries every way to name
// a model.
func TestCheckedModelIsTheModelThatRuns(t *testing.T) {
	const chat = "/api/chat"
	tiny, tinyType := formOf("model", "tiny")
	other, otherType := formOf("model", "other:1b")
	file, fileType := formOf("file", "tiny")
	for _, row := range []struct {
		name, method, path, body string
		header                   string
		runs                     string // the model that Ollama runs; "": refused here
	}{
		{"plain", "POST", chat, `{"model":"tiny"}`, "", "tiny:latest"},
		{"of a glob", "POST", chat, `{"model":"qwen3:8b"}`, "", "qwen3:8b"},
		{"another", "POST", chat, `{"model":"other:1b"}`, "", ""},
		{"no model", "POST", chat, `{}`, "", ""},
		{"empty model", "POST", chat, `{"model":""}`, "", ""},
		{"no body", "POST", chat, ``, "", ""},
		{"no JSON", "POST", chat, `model=tiny`, "", ""},
		{"a list", "POST", chat, `[{"model":"tiny"}]`, "", ""},
		{"unfinished", "POST", chat, `{"model":"tiny"`, "", ""},
		{"a BOM", "POST", chat, "\ufeff" + `{"model":"tiny"}`, "", ""},
		{"not a string", "POST", chat, `{"model":["tiny"]}`, "", ""},

		{"letter case: the last wins", "POST", chat, `{"model":"tiny","MODEL":"other:1b"}`, "", ""},
		{"letter case: the last is allowed, the exact one is not", "POST", chat, `{"model":"other:1b","MoDeL":"tiny"}`, "", ""},
		{"letter case: none is exact", "POST", chat, `{"MODEL":"other:1b","MoDeL":"tiny"}`, "", "tiny:latest"},
		{"duplicate", "POST", chat, `{"model":"tiny","model":"other:1b"}`, "", ""},
		{"duplicate, then null", "POST", chat, `{"model":"tiny","model":"other:1b","model":null}`, "", ""},
		{"null is ignored", "POST", chat, `{"model":"tiny","model":null}`, "", "tiny:latest"},
		{"escaped key", "POST", chat, `{"model":"tiny","m\u006fdel":"other:1b"}`, "", ""},
		{"escaped value", "POST", chat, `{"model":"\u0074iny"}`, "", "tiny:latest"},
		{"nested is another", "POST", chat, `{"options":{"model":"tiny"},"model":"other:1b"}`, "", ""},
		{"in a string", "POST", chat, `{"x":"\"model\":\"tiny\"","model":"other:1b"}`, "", ""},
		{"trailing data", "POST", chat, `{"model":"tiny"}{"model":"other:1b"}`, "", "tiny:latest"},
		{"leading data", "POST", chat, ` {"model":"other:1b"} {"model":"tiny"}`, "", ""},
		{"content type does not matter", "POST", chat, `{"model":"other:1b"}`, "Content-Type: text/plain", ""},
		{"name is no model here", "POST", chat, `{"name":"tiny","model":"other:1b"}`, "", ""},

		{"spelt TINY", "POST", chat, `{"model":"TINY"}`, "", "tiny:latest"},
		{"spelt Tiny:LATEST", "POST", chat, `{"model":"Tiny:LATEST"}`, "", "tiny:latest"},
		{"spelt library/tiny", "POST", chat, `{"model":"library/tiny"}`, "", "tiny:latest"},
		{"spelt in full", "POST", chat, `{"model":"registry.ollama.ai/library/tiny:latest"}`, "", "tiny:latest"},
		{"spelt as a URL", "POST", chat, `{"model":"https://registry.ollama.ai/library/tiny"}`, "", "tiny:latest"},
		{"spelt with spaces", "POST", chat, `{"model":"  tiny\n"}`, "", "tiny:latest"},
		{"spelt tiny:local", "POST", chat, `{"model":"tiny:local"}`, "", "tiny:latest"},
		{"another's tiny", "POST", chat, `{"model":"mallory/tiny"}`, "", ""},
		{"another host's tiny", "POST", chat, `{"model":"evil.example/library/tiny"}`, "", ""},
		{"no name at all", "POST", chat, `{"model":"../tiny"}`, "", ""},

		{"generate", "POST", "/api/generate", `{"model":"other:1b"}`, "", ""},
		{"embed", "POST", "/api/embed", `{"model":"tiny","input":"x"}`, "", "tiny:latest"},
		{"embed another", "POST", "/api/embed", `{"model":"other:1b","input":"x"}`, "", ""},
		{"embeddings", "POST", "/v1/embeddings", `{"model":"other:1b","input":"x"}`, "", ""},
		{"chat completions", "POST", "/v1/chat/completions", `{"MODEL":"other:1b","messages":[]}`, "", ""},
		{"completions", "POST", "/v1/completions", `{"model":"other:1b"}`, "", ""},
		{"responses", "POST", "/v1/responses", `{"model":"other:1b"}`, "", ""},
		{"messages", "POST", "/v1/messages", `{"model":"other:1b"}`, "", ""},

		{"show by model", "POST", "/api/show", `{"model":"tiny"}`, "", "tiny:latest"},
		{"show by name", "POST", "/api/show", `{"name":"tiny"}`, "", "tiny:latest"},
		{"show: model wins", "POST", "/api/show", `{"model":"other:1b","name":"tiny"}`, "", ""},
		{"show: an empty model does not", "POST", "/api/show", `{"model":"","name":"other:1b"}`, "", ""},
		{"delete by name", "DELETE", "/api/delete", `{"name":"other:1b"}`, "", ""},
		{"pull", "POST", "/api/pull", `{"model":"other:1b"}`, "", ""},
		{"push by name", "POST", "/api/push", `{"name":"other:1b"}`, "", ""},
		{"create from another", "POST", "/api/create", `{"model":"tiny","from":"other:1b"}`, "", ""},
		{"create another", "POST", "/api/create", `{"model":"other:1b","from":"tiny"}`, "", ""},
		{"copy from another", "POST", "/api/copy", `{"source":"other:1b","destination":"tiny"}`, "", ""},
		{"copy to another", "POST", "/api/copy", `{"source":"tiny","destination":"other:1b"}`, "", ""},
		{"copy, folded", "POST", "/api/copy", `{"source":"tiny","ſource":"other:1b","destination":"qwen3:2"}`, "", ""},
		{"blobs cannot be told", "POST", "/api/blobs/sha256:0", `x`, "", ""},

		{"in the path", "GET", "/v1/models/tiny", "", "", "tiny:latest"},
		{"in the path, encoded", "GET", "/v1/models/qwen3%3A8b", "", "", "qwen3:8b"},
		{"in the path, another", "GET", "/v1/models/other:1b", "", "", ""},

		{"in a form", "POST", "/v1/audio/transcriptions", tiny, "Content-Type: " + tinyType, "tiny:latest"},
		{"in a form, another", "POST", "/v1/audio/transcriptions", other, "Content-Type: " + otherType, ""},
		{"in a form, as a file", "POST", "/v1/audio/transcriptions", file, "Content-Type: " + fileType, ""},
		{"in a form, and in the query", "POST", "/v1/audio/transcriptions?model=other:1b", tiny, "Content-Type: " + tinyType, "tiny:latest"},
		{"in a form of another kind", "POST", "/v1/audio/transcriptions", "model=tiny", "Content-Type: application/x-www-form-urlencoded", ""},
	} {
		for _, size := range []string{"small", "large", "chunked"} {
			t.Run(row.name+"/"+size, func(t *testing.T) {
				t.Parallel()
				s := handlertest.Start(t, handlertest.Config{Ollama: standin.Options{Models: []string{"tiny", "other:1b", "qwen3:8b"}}})
				body := row.body
				if size == "large" && strings.HasPrefix(body, "{") {
					body = `{"images":["` + strings.Repeat("iVBORw0KGgo=", 120_000) + `"],` + strings.TrimPrefix(body, "{")
					body = strings.Replace(body, ",}", "}", 1)
				}
				w := s.Dial(t)
				headers := []string{"Authorization: Bearer " + s.Mint(true, "models=tiny,qwen3:*")}
				if row.header != "" {
					headers = append(headers, row.header)
				}
				if size == "chunked" && body != "" {
					w.Writef("%s", handlertest.Head(row.method, row.path, append(headers, "Transfer-Encoding: chunked")...)+"\r\n")
					half := len(body) / 2
					w.Writef("%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", half, body[:half], len(body)-half, body[half:])
				} else {
					w.Send(row.method, row.path, body, headers...)
				}
				a := w.Answer(row.method)
				ran := ""
				for _, seen := range s.Ollama.Seen() {
					ran += seen.Model
				}
				if ran != row.runs {
					t.Errorf("Ollama runs %q, not %q: status %d, %.200s", ran, row.runs, a.Status, a.Body)
				}
				if refused := a.Status == http.StatusForbidden || a.Status == http.StatusBadRequest; row.runs == "" && !refused {
					t.Errorf("status %d, %.200s", a.Status, a.Body)
				}
			})
		}
	}
}

// TestCompressedBodiesAreReadAsOllamaDoes: Ollama decodes zstd here, which the stand-in
// does not.
func TestCompressedBodiesAreReadAsOllamaDoes(t *testing.T) {
	ran := make(chan string, 1)
	ollama := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "zstd" && strings.HasPrefix(r.URL.Path, "/v1/") {
			decoder, err := zstd.NewReader(r.Body)
			if err != nil {
				t.Error(err)
				return
			}
			defer decoder.Close()
			body = decoder
		}
		var v struct{ Model string }
		json.NewDecoder(body).Decode(&v)
		ran <- v.Model
		fmt.Fprint(w, "{}")
	})
	s := handlertest.Start(t, handlertest.Config{Upstream: ollama})
	compress := func(text string) string {
		encoder, _ := zstd.NewWriter(nil)
		return string(encoder.EncodeAll([]byte(text), nil))
	}
	limited := s.Mint(false, "models=tiny")
	bomb := compress(`{"x":"` + strings.Repeat("a", 64<<20) + `","model":"tiny"}`)
	for _, row := range []struct {
		name, key, path, coding, body, runs string
	}{
		{"allowed", limited, "/v1/chat/completions", "zstd", compress(`{"model":"tiny"}`), "tiny"},
		{"another", limited, "/v1/chat/completions", "zstd", compress(`{"model":"other:1b"}`), ""},
		{"two frames", limited, "/v1/chat/completions", "zstd", compress(`{"model":"tiny",`) + compress(`"model":"other:1b"}`), ""},
		{"a cloud model", s.Key, "/v1/chat/completions", "zstd", compress(`{"model":"tiny:cloud"}`), ""},
		{"not compressed at all", limited, "/v1/chat/completions", "zstd", `{"model":"tiny"}`, ""},
		{"not compressed at all, any key", s.Key, "/v1/chat/completions", "zstd", `{"model":"tiny"}`, ""},
		{"another coding", s.Key, "/v1/chat/completions", "gzip", compress(`{"model":"tiny"}`), ""},
		{"another spelling of the coding", s.Key, "/v1/chat/completions", "ZSTD", compress(`{"model":"tiny:cloud"}`), ""},
		{"where Ollama does not decode", limited, "/api/chat", "zstd", compress(`{"model":"tiny"}`), ""},
		{"another coding of a large body", s.Key, "/v1/chat/completions", "gzip", string(make([]byte, 2<<20)), ""},
		{"a coding where Ollama does not decode, of a large body", s.Key, "/api/chat", "zstd", string(make([]byte, 2<<20)), ""},
		{"a bomb", s.Key, "/v1/chat/completions", "zstd", bomb, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := s.Dial(t)
			w.Send("POST", row.path, row.body, "Authorization: Bearer "+row.key, "Content-Encoding: "+row.coding)
			a := w.Answer("POST")
			got := ""
			select {
			case got = <-ran:
			default:
			}
			if got != row.runs || (row.runs == "" && a.Status != http.StatusForbidden && a.Status != http.StatusBadRequest) {
				t.Errorf("Ollama runs %q: status %d, %s", got, a.Status, a.Body)
			}
		})
	}
}

func TestCloudModelsAreRefusedToEveryone(t *testing.T) {
	names := []string{"tiny:cloud", "TINY:Cloud", "tiny:latest-cloud", "library/tiny:cloud", " tiny:cloud ", "tiny:cloud:local", "gpt-oss:120b-cloud"}
	s := handlertest.Start(t, handlertest.Config{})
	open := handlertest.Start(t, handlertest.Config{Proxy: func(o *handler.Options) { o.AllowCloud = true }})
	for _, name := range names {
		quoted, _ := json.Marshal(name)
		for path, body := range map[string]string{
			"/api/chat":            fmt.Sprintf(`{"model":%s}`, quoted),
			"/v1/chat/completions": fmt.Sprintf(`{"model":"tiny","Model":%s}`, quoted),
			"/v1/messages":         fmt.Sprintf(`{"model":%s,"Model":"tiny"}`, quoted),
			"/api/show":            fmt.Sprintf(`{"name":%s}`, quoted),
			"/api/pull":            fmt.Sprintf(`{"model":%s}`, quoted),
			"/api/create":          fmt.Sprintf(`{"model":"tiny","from":%s}`, quoted),
		} {
			w := s.Dial(t)
			w.Send("POST", path, body, "Authorization: Bearer "+s.Admin)
			if a := w.Answer("POST"); a.Status != http.StatusForbidden || !strings.Contains(a.Body, "ollama.com") {
				t.Errorf("%s %s: status %d, %s", path, body, a.Status, a.Body)
			}
			w = open.Dial(t)
			w.Send("POST", path, body, "Authorization: Bearer "+open.Admin)
			if a := w.Answer("POST"); a.Status == http.StatusForbidden {
				t.Errorf("allowed, yet %s %s: %s", path, body, a.Body)
			}
		}
	}
	s.ExpectNoRequest(t)
}

// TestCloudModelsWithOrdinaryNames: models with ordinary names that run at ollama.com
// are refused: those that Ollama lists so, and those that are created so.
func TestCloudModelsWithOrdinaryNames(t *testing.T) {
	s := handlertest.Start(t, handlertest.Config{})
	open := handlertest.Start(t, handlertest.Config{Proxy: func(o *handler.Options) { o.AllowCloud = true }})
	for _, site := range []*handlertest.Site{s, open} {
		site.Spy.Await(t, "UpstreamUp", 1)
	}
	for _, row := range []struct{ path, body string }{
		{"/api/chat", `{"model":"mine"}`},
		{"/api/generate", `{"model":"MINE:latest"}`},
		{"/v1/messages", `{"model":"library/mine:local"}`},
		{"/api/copy", `{"source":"mine","destination":"yours"}`},
		{"/api/create", `{"model":"yours","from":"mine"}`},
		{"/api/create", `{"model":"yours","from":"gpt-oss:120b","remote_host":"https://ollama.com:443"}`},
		{"/api/create", `{"model":"yours","REMOTE_HOST":"` + strings.Repeat("x", 5000) + `"}`},
	} {
		w := s.Dial(t)
		w.Send("POST", row.path, row.body, handlertest.Bearer(s.Admin))
		if a := w.Answer("POST"); a.Status != http.StatusForbidden || !strings.Contains(a.Body, "ollama.com") {
			t.Errorf("%s %.80s: status %d, %s", row.path, row.body, a.Status, a.Body)
		}
		w = open.Dial(t)
		w.Send("POST", row.path, row.body, handlertest.Bearer(open.Admin))
		if a := w.Answer("POST"); a.Status == http.StatusForbidden {
			t.Errorf("allowed, yet %s %.80s: %s", row.path, row.body, a.Body)
		}
	}
	s.ExpectNoRequest(t)
	w := s.Dial(t)
	w.Send("POST", "/api/generate", `{"model":"llama3.2","remote_host":"x","prompt":"x","stream":false}`, handlertest.Bearer(s.Key))
	if a := w.Answer("POST"); a.Status != http.StatusOK {
		t.Errorf("what means nothing here: status %d, %s", a.Status, a.Body)
	}
}

// TestTooLongNameIsRefused: Ollama strips any number of spaces from a name, so a long
// name could be that of any model.
func TestTooLongNameIsRefused(t *testing.T) {
	s := handlertest.Start(t, handlertest.Config{})
	padded := strings.Repeat(" ", 8<<10)
	for _, body := range []string{
		`{"model":"` + padded + `tiny:cloud"}`,
		`{"model":"` + strings.Repeat(`\u0020`, 4<<10) + `tiny:cloud"}`,
		`{"model":"` + padded + `tiny:cloud","MODEL":"tiny"}`,
		`{"images":["` + strings.Repeat("A", 2<<20) + `"],"model":"` + padded + `tiny:cloud"}`,
	} {
		for _, path := range []string{"/api/chat", "/v1/responses", "/api/show", "/api/pull"} {
			w := s.Dial(t)
			w.Send("POST", path, body, "Authorization: Bearer "+s.Admin)
			if a := w.Answer("POST"); a.Status != http.StatusBadRequest {
				t.Errorf("%s %.20s…: status %d, %.200s", path, body, a.Status, a.Body)
			}
		}
	}
	for _, seen := range s.Ollama.Seen() {
		if seen.Model != "" {
			t.Errorf("Ollama runs %s", seen.Model)
		}
	}
}

// TestOllamaCannotBeginBeforeTheModelIsChecked: a large body is sent up to the byte that
// would complete it.
func TestOllamaCannotBeginBeforeTheModelIsChecked(t *testing.T) {
	ended := make(chan error, 1)
	s := handlertest.Start(t, handlertest.Config{Upstream: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var v any
		ended <- json.NewDecoder(r.Body).Decode(&v)
	})})
	w := s.Dial(t)
	body := `{"images":["` + strings.Repeat("A", 2<<20) + `"],"model":"other:1b"}`
	w.Send("POST", "/api/chat", body, "Authorization: Bearer "+s.Mint(false, "models=tiny"))
	if a := w.Answer("POST"); a.Status != http.StatusForbidden || !strings.Contains(a.Body, "other:1b") {
		t.Errorf("status %d, %s", a.Status, a.Body)
	}
	if err := handlertest.Await(t, ended, "the end of the body"); err == nil {
		t.Error("Ollama had the whole of it")
	}
}

func TestListsShowTheModelsOfTheKey(t *testing.T) {
	s := handlertest.Start(t, handlertest.Config{Ollama: standin.Options{Models: []string{"tiny", "other:1b", "qwen3:8b"}}})
	limited := s.Mint(false, "models=tiny,qwen3:*")
	w := s.Dial(t)
	w.Send("POST", "/api/generate", `{"model":"tiny","prompt":"x","stream":false}`, "Authorization: Bearer "+s.Key)
	w.Answer("POST")
	w.Send("POST", "/api/generate", `{"model":"other:1b","prompt":"x","stream":false}`, "Authorization: Bearer "+s.Key)
	w.Answer("POST")
	for _, path := range []string{"/v1/models", "/api/tags", "/api/ps"} {
		w.Send("GET", path, "", "Authorization: Bearer "+s.Key, "Accept-Encoding: gzip")
		if a := w.Answer("GET"); !strings.Contains(a.Body, "other:1b") || !strings.Contains(a.Body, "tiny") {
			t.Errorf("%s, any model: %s", path, a.Body)
		}
		w.Send("GET", path, "", "Authorization: Bearer "+limited)
		a := w.Answer("GET")
		if a.Status != http.StatusOK || strings.Contains(a.Body, "other") || !strings.Contains(a.Body, "tiny") {
			t.Errorf("%s: status %d, %s", path, a.Status, a.Body)
		}
		if path != "/api/ps" && !strings.Contains(a.Body, "qwen3:8b") {
			t.Errorf("%s lacks qwen3:8b: %s", path, a.Body)
		}
		if !json.Valid([]byte(a.Body)) {
			t.Errorf("%s: %s", path, a.Body)
		}
	}
	w.Send("HEAD", "/api/tags", "", "Authorization: Bearer "+limited)
	if a := w.Answer("HEAD"); a.Status != http.StatusOK || a.Header.Get("Content-Length") != "" {
		t.Errorf("HEAD: status %d, length %s", a.Status, a.Header.Get("Content-Length"))
	}
}

func TestInvalidListIsNotRelayed(t *testing.T) {
	for name, body := range map[string]string{
		"no JSON":    `models: other:1b`,
		"an array":   `[{"name":"other:1b"}]`,
		"odd models": `{"models":{"name":"other:1b"}}`,
		"cut short":  `{"models":[{"name":"other:1b"}`,
	} {
		s := handlertest.Start(t, handlertest.Config{Upstream: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) })})
		w := s.Dial(t)
		w.Send("GET", "/api/tags", "", "Authorization: Bearer "+s.Mint(false, "models=tiny"))
		if a := w.Answer("GET"); a.Status != http.StatusBadGateway || strings.Contains(a.Body, "other") {
			t.Errorf("%s: status %d, %s", name, a.Status, a.Body)
		}
	}
	odd := `{"models":[{"name":"tiny"},{"name":"tiny","model":"other:1b"},{"size":1},"other:1b",null],"next":"x"}`
	s := handlertest.Start(t, handlertest.Config{Upstream: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, odd) })})
	w := s.Dial(t)
	w.Send("GET", "/api/tags", "", "Authorization: Bearer "+s.Mint(false, "models=tiny"))
	if a := w.Answer("GET"); a.Body != `{"models":[{"name":"tiny"}],"next":"x"}` {
		t.Errorf("%s", a.Body)
	}
}
