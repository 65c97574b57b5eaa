package standin_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

func TestPaths(t *testing.T) {
	t.Parallel()
	_, s := start(t, standin.Options{})
	for _, c := range []struct {
		method, target string
		status         int
		header         string // name: value
		body           string
	}{
		{"GET", "/", 200, "Content-Length: 17", "Ollama is running"},
		{"HEAD", "/", 200, "Content-Length: 17", ""},
		{"HEAD", "/api/version", 200, "", ""},
		{"HEAD", "/api/tags", 200, "", ""},
		{"GET", "/api/ps", 200, "", `{"models":[]}`},
		{"GET", "//api/tags", 307, "Location: /api/tags", ""},
		{"GET", "/api//tags?a=b", 307, "Location: /api/tags?a=b", ""},
		{"POST", "/v1/../api/show", 307, "Location: /api/show", ""},
		{"GET", "/api/tags/", 301, "Location: /api/tags", ""},
		{"POST", "/api/show/", 307, "Location: /api/show", ""},
		{"GET", "/api%2ftags", 200, "", ""},
		{"GET", "/api/%74ags", 200, "", ""},
		{"GET", "/API/TAGS", 404, "", "404 page not found"},
		{"GET", "/v1/models/a/b", 404, "", "404 page not found"},
		{"POST", "/api/tags", 405, "Allow: GET, HEAD", "405 method not allowed"},
		{"GET", "/api/chat", 405, "Allow: POST", ""},
		{"HEAD", "/api/ps", 405, "Allow: GET", ""},
		{"POST", "/api/me", 200, "", ""},
		{"POST", "/api/signout", 200, "", ""},
		{"DELETE", "/api/user/keys/x", 200, "", ""},
		{"GET", "/api/experimental/model-recommendations", 200, "", ""},
	} {
		r, body := exchange(t, s, c.method, c.target, "")
		name, value, _ := strings.Cut(c.header, ": ")
		if r.StatusCode != c.status || r.Header.Get(name) != value || c.body != "" && body != c.body {
			t.Errorf("%s %s: %s %v %q", c.method, c.target, r.Status, r.Header, body)
		}
	}
}

func TestHostsAndOrigins(t *testing.T) {
	t.Parallel()
	_, s := start(t, standin.Options{})
	for header, status := range map[string]int{
		"Host: evil.example": 403, "Host: 8.8.8.8": 403, "Host: 8.8.8.8:11434": 403,
		"Host: localhost:1": 200, "Host: 10.1.2.3": 200, "Host: [::1]:11434": 200, "Host: box.local": 200, "Host: a.INTERNAL": 200, "Host: 0.0.0.0": 200,
		"Origin: https://evil.example": 403, "Origin: null": 403, "Origin: http://localhost.evil.example": 403,
		"Origin: http://localhost:3000": 200, "Origin: https://127.0.0.1": 200, "Origin: app://x": 200,
	} {
		for _, method := range []string{"GET", "POST"} {
			target, body := "/api/tags", ""
			if method == "POST" {
				target, body = "/api/show", `{"model":"tiny"}`
			}
			if r, text := exchange(t, s, method, target, body, header); r.StatusCode != status || status == 403 && text != "" {
				t.Errorf("%s with %s: %s %q", method, header, r.Status, text)
			}
		}
	}
	r, _ := exchange(t, s, "OPTIONS", "/api/chat", "", "Origin: http://localhost:3000", "Access-Control-Request-Method: POST")
	if r.StatusCode != 204 || r.Header.Get("Access-Control-Allow-Origin") == "" {
		t.Error(r.Status, r.Header)
	}
}

// Each route has words of its own for a model that is not there.
func TestModelsThatAreNotThere(t *testing.T) {
	t.Parallel()
	_, s := start(t, standin.Options{})
	const rest = `,"prompt":"x","input":"x","max_tokens":1,"messages":[{"role":"user","content":"x"}]}`
	for _, c := range []struct {
		path, body string
		status     int
		message    string
	}{
		{"/api/generate", `{"model":""` + rest, 404, "model '' not found"},
		{"/v1/completions", `{"x":0` + rest, 404, "model '' not found"},
		{"/api/embed", `{"model":""` + rest, 404, "model '' not found"},
		{"/v1/embeddings", `{"model":""` + rest, 404, "model '' not found"},
		{"/api/embeddings", `{"model":""` + rest, 400, "model is required"},
		{"/api/chat", `{"model":""` + rest, 400, "model is required"},
		{"/v1/chat/completions", `{"model":""` + rest, 400, "model is required"},
		{"/api/embed", `{"model":"nope"` + rest, 404, `model \"nope\" not found, try pulling it first`},
		{"/api/embeddings", `{"model":"nope"` + rest, 404, `model \"nope\" not found, try pulling it first`},
		{"/v1/embeddings", `{"model":"nope"` + rest, 404, `model \"nope\" not found, try pulling it first`},
		{"/api/show", `{"model":"Nope"}`, 404, "model 'nope:latest' not found"},
		{"/api/create", `{"model":"new"}`, 400, "neither 'from' or 'files' was specified"},
		{"/api/create", `{"model":"new","from":"tiny"}`, 200, "success"},
		{"/api/generate", `{"model":"tiny","messages":"of no use here","prompt":"x"}`, 200, `"done":true`},
		{"/api/chat", `{"model":"tiny","messages":"x"}`, 400, "cannot unmarshal"},
	} {
		r, body := exchange(t, s, "POST", c.path, c.body)
		if r.StatusCode != c.status || !strings.Contains(body, c.message) {
			t.Errorf("%s %s: %s %s", c.path, c.body, r.Status, body)
		}
	}
	if r, body := exchange(t, s, "GET", "/api/status", ""); r.StatusCode != 200 || !strings.Contains(body, `"disabled":false`) {
		t.Errorf("%s %s", r.Status, body)
	}
}

func TestErrorsInEachDialect(t *testing.T) {
	t.Parallel()
	_, s := start(t, standin.Options{})
	for _, d := range dialects {
		for _, c := range []struct {
			body    string
			status  int
			message string
		}{
			{d.ask("nope", true), 404, "model 'nope' not found"},
			{d.ask("tiny:cloud", true), 404, "model 'tiny:cloud' not found"},
			{d.ask("a b", false), 400, "invalid model name"},
			{`{"model":"tiny"`, 400, "unexpected EOF"},
			{"\ufeff" + d.ask("tiny", true), 400, "invalid character 'ï' looking for beginning of value"},
			{`{"model":1}`, 400, "*"},
			{"", 400, "EOF"},
		} {
			r, body := exchange(t, s, "POST", d.path, c.body)
			if c.message == "EOF" && strings.HasPrefix(d.path, "/api/") {
				c.message = "missing request body"
			}
			v := parse(t, body)
			message, _ := v["error"].(string)
			if e, ok := v["error"].(map[string]any); ok {
				message, _ = e["message"].(string)
				kind := map[int]string{404: "not_found_error", 400: "invalid_request_error"}[c.status]
				_, param := e["param"]
				_, id := v["request_id"]
				if messages := d.path == "/v1/messages"; e["type"] != kind || param == messages || id != messages || strings.HasPrefix(d.path, "/api/") {
					t.Errorf("%s: %s", d.path, body)
				}
			}
			if r.StatusCode != c.status || message != c.message && c.message != "*" {
				t.Errorf("%s %s: %s %s", d.path, c.body, r.Status, body)
			}
		}
	}
	for _, d := range dialects {
		for _, encoding := range []string{"zstd", "gzip"} {
			if r, body := exchange(t, s, "POST", d.path, "\x28\xb5\x2f\xfd", "Content-Encoding: "+encoding); r.StatusCode != 400 {
				t.Errorf("%s %s: %s %s", d.path, encoding, r.Status, body)
			}
		}
	}
	for _, path := range []string{"/v1/messages", "/v1/chat/completions"} {
		if r, body := exchange(t, s, "POST", path, `{"model":"tiny"}`); r.StatusCode != 400 {
			t.Errorf("%s: %s %s", path, r.Status, body)
		}
	}
	if r, body := exchange(t, s, "GET", "/v1/models/nope", ""); r.StatusCode != 404 || !strings.Contains(body, "not_found_error") {
		t.Errorf("%s %s", r.Status, body)
	}
}

func TestCatalogue(t *testing.T) {
	t.Parallel()
	_, s := start(t, standin.Options{Models: []string{"B:1", "a", "b:1", "no good"}})
	_, body := exchange(t, s, "GET", "/api/tags", "")
	models := parse(t, body)["models"].([]any)
	if len(models) != 2 || models[0].(map[string]any)["name"] != "b:1" || models[1].(map[string]any)["model"] != "a:latest" {
		t.Errorf("tags: %s", body)
	}
	_, body = exchange(t, s, "GET", "/v1/models", "")
	if data := parse(t, body)["data"].([]any); len(data) != 2 || data[0].(map[string]any)["id"] != "b:1" {
		t.Errorf("models: %s", body)
	}
	exchange(t, s, "POST", "/api/chat", `{"model":"A","messages":[{"role":"user","content":"x"}]}`)
	_, body = exchange(t, s, "GET", "/api/ps", "")
	if running := parse(t, body)["models"].([]any); len(running) != 1 || running[0].(map[string]any)["name"] != "a:latest" {
		t.Errorf("ps: %s", body)
	}
	if _, body = exchange(t, s, "POST", "/api/show", `{"model":"a"}`); parse(t, body)["capabilities"] == nil {
		t.Errorf("show: %s", body)
	}
	if _, body = exchange(t, s, "GET", "/v1/models/A", ""); parse(t, body)["id"] != "A" || parse(t, body)["owned_by"] != "library" {
		t.Errorf("model: %s", body)
	}
}

func TestLargeListingsAreChunked(t *testing.T) {
	t.Parallel()
	var models []string
	for i := range 20 {
		models = append(models, fmt.Sprint("m", i))
	}
	_, s := start(t, standin.Options{Models: models})
	if r, _ := exchange(t, s, "GET", "/api/tags", ""); r.ContentLength >= 0 {
		t.Error(r.ContentLength)
	}
}

func TestAdmin(t *testing.T) {
	t.Parallel()
	_, s := start(t, standin.Options{})
	has := func(name string, want bool) {
		t.Helper()
		if _, body := exchange(t, s, "GET", "/api/tags", ""); strings.Contains(body, `"name":"`+name+`"`) != want {
			t.Errorf("%s: %s", name, body)
		}
	}
	do := func(method, target, body string, status int, contains string) {
		t.Helper()
		r, text := exchange(t, s, method, target, body)
		if r.StatusCode != status || !strings.Contains(text, contains) {
			t.Errorf("%s %s %s: %s %s", method, target, body, r.Status, text)
		}
	}
	do("DELETE", "/api/delete", `{"model":"qwen3:8b"}`, 200, "")
	has("qwen3:8b", false)
	do("DELETE", "/api/delete", `{"model":"qwen3:8b"}`, 404, "not found")
	do("POST", "/api/pull", `{"model":"qwen3:8b"}`, 200, "\n{\"status\":\"success\"}\n")
	has("qwen3:8b", true)
	do("POST", "/api/pull", `{"model":"qwen3:8b","stream":false}`, 200, `{"status":"success"}`)
	do("POST", "/api/pull", `{"name":"nope"}`, 200, "\n{\"error\":\"pull model manifest: file does not exist\"}\n")
	do("POST", "/api/pull", `{"model":"nope","stream":false}`, 500, "file does not exist")
	do("POST", "/api/pull", ``, 400, "missing request body")
	do("POST", "/api/push", `{"model":"tiny"}`, 200, "\n{\"status\":\"success\"}\n")
	do("POST", "/api/push", `{"model":"nope"}`, 200, `{"error":`)
	do("POST", "/api/create", `{"model":"mine","from":"tiny"}`, 200, "success")
	has("mine:latest", true)
	do("POST", "/api/copy", `{"source":"mine","destination":"yours"}`, 200, "")
	has("yours:latest", true)
	do("POST", "/api/copy", `{"source":"nope","destination":"x"}`, 404, "not found")

	data := strings.Repeat("blob", 300<<10)
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(data)))
	do("HEAD", "/api/blobs/"+digest, "", 404, "")
	do("POST", "/api/blobs/"+digest, "other", 400, "digest mismatch")
	do("POST", "/api/blobs/"+digest, data, 201, "")
	do("POST", "/api/blobs/"+digest, data, 200, "")
	do("HEAD", "/api/blobs/"+digest, "", 200, "")
	do("HEAD", "/api/blobs/nonsense", "", 400, "")
}

func TestEmbeddings(t *testing.T) {
	t.Parallel()
	_, s := start(t, standin.Options{})
	_, body := exchange(t, s, "POST", "/api/embed", `{"model":"tiny","input":["a","b","a"]}`)
	vectors := parse(t, body)["embeddings"].([]any)
	if len(vectors) != 3 || fmt.Sprint(vectors[0]) != fmt.Sprint(vectors[2]) || fmt.Sprint(vectors[0]) == fmt.Sprint(vectors[1]) {
		t.Errorf("%v", vectors)
	}
	_, body = exchange(t, s, "POST", "/api/embeddings", `{"model":"tiny","prompt":"a"}`)
	one := parse(t, body)["embedding"].([]any)
	if fmt.Sprint(one) != fmt.Sprint(vectors[0]) {
		t.Errorf("%v", one)
	}
	var length float64
	for _, v := range one {
		length += v.(float64) * v.(float64)
	}
	if math.Abs(length-1) > 1e-5 {
		t.Errorf("length %v", length)
	}

	_, body = exchange(t, s, "POST", "/v1/embeddings", `{"model":"TINY","input":"a"}`)
	data := parse(t, body)["data"].([]any)[0].(map[string]any)
	if parse(t, body)["model"] != "TINY" || fmt.Sprint(data["embedding"]) != fmt.Sprint(one) {
		t.Error(body)
	}
	_, body = exchange(t, s, "POST", "/v1/embeddings", `{"model":"tiny","input":"a","encoding_format":"base64"}`)
	data = parse(t, body)["data"].([]any)[0].(map[string]any)
	raw, err := base64.StdEncoding.DecodeString(data["embedding"].(string))
	if err != nil || len(raw) != 4*len(one) || math.Float32frombits(binary.LittleEndian.Uint32(raw)) != float32(one[0].(float64)) {
		t.Errorf("%s: %v", body, err)
	}
	for body, status := range map[string]int{
		`{"model":"tiny","input":"a","encoding_format":"hex"}`: 400, `{"model":"tiny"}`: 400, `{"model":"tiny","input":[]}`: 400,
		`{"model":"tiny","input":[1]}`: 400, `{"model":"nope","input":"a"}`: 404, `{"model":"runner-killed","input":"a"}`: 500, "": 400,
	} {
		if r, text := exchange(t, s, "POST", "/v1/embeddings", body); r.StatusCode != status {
			t.Errorf("%s: %s %s", body, r.Status, text)
		}
	}
}
