package handler_test

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

// TestTheModelThatIsCheckedIsTheModelThatRuns lets a key for tiny and qwen3:*
// ask in every way that there is to name a model.
func TestTheModelThatIsCheckedIsTheModelThatRuns(t *testing.T) {
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
				s := start(t, config{ollama: standin.Options{Models: []string{"tiny", "other:1b", "qwen3:8b"}}})
				body := row.body
				if size == "large" && strings.HasPrefix(body, "{") {
					body = `{"images":["` + strings.Repeat("iVBORw0KGgo=", 120_000) + `"],` + strings.TrimPrefix(body, "{")
					body = strings.Replace(body, ",}", "}", 1)
				}
				w := s.dial(t)
				headers := []string{"Authorization: Bearer " + s.mint(true, "models=tiny,qwen3:*")}
				if row.header != "" {
					headers = append(headers, row.header)
				}
				if size == "chunked" && body != "" {
					w.write("%s", head(row.method, row.path, append(headers, "Transfer-Encoding: chunked")...)+"\r\n")
					half := len(body) / 2
					w.write("%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", half, body[:half], len(body)-half, body[half:])
				} else {
					w.send(row.method, row.path, body, headers...)
				}
				a := w.answer(row.method)
				ran := ""
				for _, seen := range s.ollama.Seen() {
					ran += seen.Model
				}
				if ran != row.runs {
					t.Errorf("Ollama runs %q, not %q: status %d, %.200s", ran, row.runs, a.status, a.body)
				}
				if refused := a.status == http.StatusForbidden || a.status == http.StatusBadRequest; row.runs == "" && !refused {
					t.Errorf("status %d, %.200s", a.status, a.body)
				}
			})
		}
	}
}

// TestCompressedBodiesAreReadAsOllamaDoes has an Ollama that decodes zstd,
// which the stand-in does not.
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
	s := start(t, config{upstream: ollama})
	compress := func(text string) string {
		encoder, _ := zstd.NewWriter(nil)
		return string(encoder.EncodeAll([]byte(text), nil))
	}
	limited := s.mint(false, "models=tiny")
	bomb := compress(`{"x":"` + strings.Repeat("a", 64<<20) + `","model":"tiny"}`)
	for _, row := range []struct {
		name, key, path, coding, body, runs string
	}{
		{"allowed", limited, "/v1/chat/completions", "zstd", compress(`{"model":"tiny"}`), "tiny"},
		{"another", limited, "/v1/chat/completions", "zstd", compress(`{"model":"other:1b"}`), ""},
		{"two frames", limited, "/v1/chat/completions", "zstd", compress(`{"model":"tiny",`) + compress(`"model":"other:1b"}`), ""},
		{"a cloud model", s.key, "/v1/chat/completions", "zstd", compress(`{"model":"tiny:cloud"}`), ""},
		{"not compressed at all", limited, "/v1/chat/completions", "zstd", `{"model":"tiny"}`, ""},
		{"not compressed at all, any key", s.key, "/v1/chat/completions", "zstd", `{"model":"tiny"}`, ""},
		{"another coding", s.key, "/v1/chat/completions", "gzip", compress(`{"model":"tiny"}`), ""},
		{"another spelling of the coding", s.key, "/v1/chat/completions", "ZSTD", compress(`{"model":"tiny:cloud"}`), ""},
		{"where Ollama does not decode", limited, "/api/chat", "zstd", compress(`{"model":"tiny"}`), ""},
		{"another coding of a large body", s.key, "/v1/chat/completions", "gzip", string(make([]byte, 2<<20)), ""},
		{"a coding where Ollama does not decode, of a large body", s.key, "/api/chat", "zstd", string(make([]byte, 2<<20)), ""},
		{"a bomb", s.key, "/v1/chat/completions", "zstd", bomb, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := s.dial(t)
			w.send("POST", row.path, row.body, "Authorization: Bearer "+row.key, "Content-Encoding: "+row.coding)
			a := w.answer("POST")
			got := ""
			select {
			case got = <-ran:
			default:
			}
			if got != row.runs || (row.runs == "" && a.status != http.StatusForbidden && a.status != http.StatusBadRequest) {
				t.Errorf("Ollama runs %q: status %d, %s", got, a.status, a.body)
			}
		})
	}
}

func TestCloudModelsAreRefusedToEveryone(t *testing.T) {
	names := []string{"tiny:cloud", "TINY:Cloud", "tiny:latest-cloud", "library/tiny:cloud", " tiny:cloud ", "tiny:cloud:local", "gpt-oss:120b-cloud"}
	s := start(t, config{})
	open := start(t, config{proxy: func(o *handler.Options) { o.AllowCloud = true }})
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
			w := s.dial(t)
			w.send("POST", path, body, "Authorization: Bearer "+s.admin)
			if a := w.answer("POST"); a.status != http.StatusForbidden || !strings.Contains(a.body, "ollama.com") {
				t.Errorf("%s %s: status %d, %s", path, body, a.status, a.body)
			}
			w = open.dial(t)
			w.send("POST", path, body, "Authorization: Bearer "+open.admin)
			if a := w.answer("POST"); a.status == http.StatusForbidden {
				t.Errorf("allowed, yet %s %s: %s", path, body, a.body)
			}
		}
	}
	s.nothingArrived(t)
}

// TestModelsByOtherNamesOfTheCloud: Ollama says which they are, and who makes one
// says so, too.
func TestModelsByOtherNamesOfTheCloud(t *testing.T) {
	s := start(t, config{})
	open := start(t, config{proxy: func(o *handler.Options) { o.AllowCloud = true }})
	for _, site := range []*site{s, open} {
		site.spy.await(t, "UpstreamUp", 1)
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
		w := s.dial(t)
		w.send("POST", row.path, row.body, bearer(s.admin))
		if a := w.answer("POST"); a.status != http.StatusForbidden || !strings.Contains(a.body, "ollama.com") {
			t.Errorf("%s %.80s: status %d, %s", row.path, row.body, a.status, a.body)
		}
		w = open.dial(t)
		w.send("POST", row.path, row.body, bearer(open.admin))
		if a := w.answer("POST"); a.status == http.StatusForbidden {
			t.Errorf("allowed, yet %s %.80s: %s", row.path, row.body, a.body)
		}
	}
	s.nothingArrived(t)
	w := s.dial(t)
	w.send("POST", "/api/generate", `{"model":"llama3.2","remote_host":"x","prompt":"x","stream":false}`, bearer(s.key))
	if a := w.answer("POST"); a.status != http.StatusOK {
		t.Errorf("what means nothing here: status %d, %s", a.status, a.body)
	}
}

// TestANameThatIsTooLongIsNoWayAround: Ollama takes spaces off a name, however
// many there are.
func TestANameThatIsTooLongIsNoWayAround(t *testing.T) {
	s := start(t, config{})
	padded := strings.Repeat(" ", 8<<10)
	for _, body := range []string{
		`{"model":"` + padded + `tiny:cloud"}`,
		`{"model":"` + strings.Repeat(`\u0020`, 4<<10) + `tiny:cloud"}`,
		`{"model":"` + padded + `tiny:cloud","MODEL":"tiny"}`,
		`{"images":["` + strings.Repeat("A", 2<<20) + `"],"model":"` + padded + `tiny:cloud"}`,
	} {
		for _, path := range []string{"/api/chat", "/v1/responses", "/api/show", "/api/pull"} {
			w := s.dial(t)
			w.send("POST", path, body, "Authorization: Bearer "+s.admin)
			if a := w.answer("POST"); a.status != http.StatusBadRequest {
				t.Errorf("%s %.20s…: status %d, %.200s", path, body, a.status, a.body)
			}
		}
	}
	for _, seen := range s.ollama.Seen() {
		if seen.Model != "" {
			t.Errorf("Ollama runs %s", seen.Model)
		}
	}
}

// TestOllamaCannotBeginBeforeTheModelIsKnown sends a large body up to the byte
// that would complete it.
func TestOllamaCannotBeginBeforeTheModelIsKnown(t *testing.T) {
	ended := make(chan error, 1)
	s := start(t, config{upstream: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var v any
		ended <- json.NewDecoder(r.Body).Decode(&v)
	})})
	w := s.dial(t)
	body := `{"images":["` + strings.Repeat("A", 2<<20) + `"],"model":"other:1b"}`
	w.send("POST", "/api/chat", body, "Authorization: Bearer "+s.mint(false, "models=tiny"))
	if a := w.answer("POST"); a.status != http.StatusForbidden || !strings.Contains(a.body, "other:1b") {
		t.Errorf("status %d, %s", a.status, a.body)
	}
	if err := await(t, ended, "the end of the body"); err == nil {
		t.Error("Ollama had the whole of it")
	}
}

func TestListsShowWhatTheKeyIsFor(t *testing.T) {
	s := start(t, config{ollama: standin.Options{Models: []string{"tiny", "other:1b", "qwen3:8b"}}})
	limited := s.mint(false, "models=tiny,qwen3:*")
	w := s.dial(t)
	w.send("POST", "/api/generate", `{"model":"tiny","prompt":"x","stream":false}`, "Authorization: Bearer "+s.key)
	w.answer("POST")
	w.send("POST", "/api/generate", `{"model":"other:1b","prompt":"x","stream":false}`, "Authorization: Bearer "+s.key)
	w.answer("POST")
	for _, path := range []string{"/v1/models", "/api/tags", "/api/ps"} {
		w.send("GET", path, "", "Authorization: Bearer "+s.key, "Accept-Encoding: gzip")
		if a := w.answer("GET"); !strings.Contains(a.body, "other:1b") || !strings.Contains(a.body, "tiny") {
			t.Errorf("%s, any model: %s", path, a.body)
		}
		w.send("GET", path, "", "Authorization: Bearer "+limited)
		a := w.answer("GET")
		if a.status != http.StatusOK || strings.Contains(a.body, "other") || !strings.Contains(a.body, "tiny") {
			t.Errorf("%s: status %d, %s", path, a.status, a.body)
		}
		if path != "/api/ps" && !strings.Contains(a.body, "qwen3:8b") {
			t.Errorf("%s lacks qwen3:8b: %s", path, a.body)
		}
		if !json.Valid([]byte(a.body)) {
			t.Errorf("%s: %s", path, a.body)
		}
	}
	w.send("HEAD", "/api/tags", "", "Authorization: Bearer "+limited)
	if a := w.answer("HEAD"); a.status != http.StatusOK || a.header.Get("Content-Length") != "" {
		t.Errorf("HEAD: status %d, length %s", a.status, a.header.Get("Content-Length"))
	}
}

func TestAListThatCannotBeReadIsNotPassedOn(t *testing.T) {
	for name, body := range map[string]string{
		"no JSON":    `models: other:1b`,
		"an array":   `[{"name":"other:1b"}]`,
		"odd models": `{"models":{"name":"other:1b"}}`,
		"cut short":  `{"models":[{"name":"other:1b"}`,
	} {
		s := start(t, config{upstream: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) })})
		w := s.dial(t)
		w.send("GET", "/api/tags", "", "Authorization: Bearer "+s.mint(false, "models=tiny"))
		if a := w.answer("GET"); a.status != http.StatusBadGateway || strings.Contains(a.body, "other") {
			t.Errorf("%s: status %d, %s", name, a.status, a.body)
		}
	}
	odd := `{"models":[{"name":"tiny"},{"name":"tiny","model":"other:1b"},{"size":1},"other:1b",null],"next":"x"}`
	s := start(t, config{upstream: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, odd) })})
	w := s.dial(t)
	w.send("GET", "/api/tags", "", "Authorization: Bearer "+s.mint(false, "models=tiny"))
	if a := w.answer("GET"); a.body != `{"models":[{"name":"tiny"}],"next":"x"}` {
		t.Errorf("%s", a.body)
	}
}
