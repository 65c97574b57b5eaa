package standin_test

import (
	"bytes"
	"mime/multipart"
	"strings"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

func TestCanonical(t *testing.T) {
	t.Parallel()
	for want, spellings := range map[string][]string{
		"tiny:latest": {"tiny", "TINY", "Tiny:LATEST", "library/tiny", "Library/Tiny:latest", "registry.ollama.ai/library/tiny:latest",
			"https://registry.ollama.ai/library/tiny", "http://REGISTRY.ollama.ai/library/tiny:latest", "tiny:local", "tiny:LOCAL",
			"tiny: local", "tiny:latest:local", " tiny\n", "\ttiny \r\n", "tiny:latest", "registry.ollama.ai/library/tiny:local",
			"https:///library/tiny", ":///library/tiny", "any thing:///library/tiny", strings.Repeat("s", 600) + "://registry.ollama.ai/library/tiny"},
		"other:1b":              {"other:1b", "OTHER:1B", "other:1b:local"},
		"me/tiny:latest":        {"me/tiny", "registry.ollama.ai/Me/tiny"},
		"host:5000/me/m:latest": {"host:5000/me/m", "https://HOST:5000/me/m:latest"},
		"host/library/m:x":      {"host/library/m:x"},
		"tiny:cloud":            {"tiny:cloud", "Tiny:CLOUD", "library/tiny:cloud"},
		"tiny:latest-cloud":     {"tiny:latest-cloud", "tiny:latest:cloud", "TINY:Latest-Cloud"},
		"tiny-cloud:latest":     {"tiny-cloud"},
		"": {"", " ", ":", "tiny:", ":x", "/tiny", "tiny/", "a b", "-tiny", "tiny:-x", "a/b/c/d", "http://tiny", "http://ns/tiny",
			"tiny@sha256:00", "tïny", "tiny:local:cloud", "tiny:cloud:local", "tiny:local:local", "tiny\x00", "\u212Aiwi", "n.s/tiny",
			strings.Repeat("a", 81), "../tiny", "https:///tiny", "https:////tiny", "a://b://c/library/tiny", "//library/tiny", "tiny:-cloud", "tiny::cloud"},
	} {
		for _, s := range spellings {
			if got := standin.Canonical(s); got != want {
				t.Errorf("Canonical(%q) = %q, not %q", s, got, want)
			}
		}
		if want != "" && standin.Canonical(want) != want {
			t.Errorf("Canonical(%q) = %q", want, standin.Canonical(want))
		}
	}
}

func TestStored(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"tiny": "tiny:latest", "https:///library/TINY": "tiny:latest", "tiny:local": "tiny:local", "tiny:cloud": "tiny:cloud",
		" tiny": "", "tiny\n": "", "tiny:8b:local": "", "tiny:8b:cloud": "", "tiny: local": "", "": "",
	} {
		if got := standin.Stored(name); got != want {
			t.Errorf("Stored(%q) = %q, not %q", name, got, want)
		}
	}
	s := serve(t)
	for i, row := range []struct{ method, path, body, want string }{
		{"POST", "/api/copy", `{"source":"tiny","destination":"tiny:local"}`, "tiny:latest"},
		{"POST", "/api/copy", `{"source":"tiny:local","destination":"new"}`, "tiny:local"},
		{"POST", "/api/push", `{"model":"tiny:local"}`, "tiny:local"},
		{"POST", "/api/create", `{"model":"tiny:local","from":"tiny"}`, "tiny:local"},
		{"POST", "/api/chat", `{"model":"tiny:local"}`, "tiny:latest"},
		{"DELETE", "/api/delete", `{"model":"tiny:local"}`, "tiny:latest"},
	} {
		exchange(t, s.Server, row.method, row.path, row.body)
		if got := s.await(t, i+1).Model; got != row.want {
			t.Errorf("%s %s is about %q", row.path, row.body, got)
		}
	}
}

// TestAccountUse: Seen.Account reports each request that uses the ollama.com account.
func TestAccountUse(t *testing.T) {
	t.Parallel()
	o, s := start(t, standin.Options{Remote: []string{"mine"}})
	o.Install("made:now", true)
	const rest = `,"prompt":"x","input":"x","max_tokens":1,"messages":[{"role":"user","content":"x"}]}`
	n := 0
	for _, row := range []struct{ path, body, want string }{
		{"/api/chat", `{"model":"tiny"` + rest, ""},
		{"/api/chat", `{"model":"mine"` + rest, "model"},
		{"/api/chat", `{"model":"x:///library/Mine"` + rest, "model"},
		{"/api/chat", `{"model":"mine:local"` + rest, ""},
		{"/api/generate", `{"model":"made:now"` + rest, "model"},
		{"/v1/responses", `{"model":"mine"` + rest, "model"},
		{"/api/chat", `{"model":"tiny:cloud"` + rest, "model"},
		{"/v1/chat/completions", `{"model":"tiny:cloud","Model":"tiny"` + rest, "model"},
		{"/api/show", `{"model":"mine"}`, ""},
		{"/api/show", `{"model":"tiny:8b-cloud"}`, "model"},
		{"/api/copy", `{"source":"mine","destination":"yours"}`, ""},
		{"/api/chat", `{"model":"yours"` + rest, "model"},
		{"/api/create", `{"model":"tiny","from":"gpt-oss:120b","remote_host":"ollama.com"}`, "model"},
		{"/api/chat", `{"model":"tiny"` + rest, "model"},
		{"/v1/messages", `{"model":"other:1b","tools":[{"name":"x"},{"type":"web_search_20250305"}]` + rest, "web_search"},
		{"/v1/messages", `{"model":"other:1b","tools":[{"type":"custom","name":"web_search"}]` + rest, ""},
		{"/v1/responses", `{"model":"other:1b","TOOLS":[{"typ\u0065":"web_search"}]` + rest, "web_search"},
		{"/v1/responses", `{"model":"other:1b","tools":[{"type":"web_search_preview"}]` + rest, ""},
		{"/v1/chat/completions", `{"model":"other:1b","tools":[{"type":"web_search"}]` + rest, ""},
		{"/api/me", ``, "route"},
	} {
		exchange(t, s, "POST", row.path, row.body)
		n++
		if got := o.Seen()[n-1].Account; got != row.want {
			t.Errorf("%s %s acts by %q, not %q", row.path, row.body, got, row.want)
		}
	}
	if r, body := exchange(t, s, "POST", "/api/chat", `{"model":"mine:local"`+rest); r.StatusCode != 404 {
		t.Errorf("%s %s", r.Status, body)
	}
	if _, body := exchange(t, s, "GET", "/api/tags", ""); strings.Count(body, `"remote_host":"https://ollama.com:443"`) != 4 {
		t.Errorf("%s", body)
	}
}

func FuzzCanonical(f *testing.F) {
	f.Add("https://registry.ollama.ai/library/tiny:8b:cloud")
	f.Fuzz(func(t *testing.T, s string) {
		c := standin.Canonical(s)
		if c != "" && standin.Canonical(c) != c {
			t.Errorf("Canonical(%q) = %q, whose own is %q", s, c, standin.Canonical(c))
		}
	})
}

func TestWhichModelWins(t *testing.T) {
	t.Parallel()
	s := serve(t)
	const messages = `,"messages":[{"role":"user","content":"x"}],"prompt":"x","stream":false}`
	n := 0
	for _, c := range []struct{ path, body, want string }{
		{"/api/chat", `{"model":"tiny","MODEL":"other:1b"` + messages, "other:1b"},
		{"/api/chat", `{"MODEL":"other:1b","model":"tiny"` + messages, "tiny:latest"},
		{"/api/chat", `{"model":"tiny","model":"other:1b"` + messages, "other:1b"},
		{"/api/chat", `{"model":"tiny","model":null` + messages, "tiny:latest"},
		{"/v1/chat/completions", `{"model":"tiny","m\u006fdel":"other:1b"` + messages, "other:1b"},
		{"/api/generate", `{"model":"tiny"` + messages + `{"model":"other:1b"}`, "tiny:latest"},
		{"/api/generate", `{"model":"tiny"` + messages + ` garbage`, "tiny:latest"},
		{"/api/generate", `{"model":"tiny","name":"other:1b"` + messages, "tiny:latest"},
		{"/api/generate", "{\"model\":\"tiny\",\"\u017Ftream\":true,\"stream\":false,\"prompt\":\"x\"}", "tiny:latest"},
		{"/api/show", `{"name":"other:1b"}`, "other:1b"},
		{"/api/show", `{"name":"other:1b","model":"tiny"}`, "tiny:latest"},
		{"/api/show", `{"name":"other:1b","model":""}`, "other:1b"},
		{"/api/copy", `{"source":"tiny","destination":"new"}`, "tiny:latest"},
		{"/v1/completions", `{"model":" library/Tiny\n"` + messages, "tiny:latest"},
	} {
		r, body := exchange(t, s.Server, "POST", c.path, c.body, "Content-Type: text/plain")
		n++
		if got := s.await(t, n).Model; got != c.want || r.StatusCode != 200 {
			t.Errorf("%s %s runs %q: %s %s", c.path, c.body, got, r.Status, body)
		}
	}

	// Under /v1, what is to run at ollama.com is looked for first.
	for _, c := range []struct{ path, body, want string }{
		{"/v1/chat/completions", `{"model":"tiny:cloud","MODEL":"tiny"` + messages, "tiny:cloud"},
		{"/v1/messages", `{"model":" tiny:8b:CLOUD ","Model":"tiny"` + messages, "tiny:8b-cloud"},
		{"/v1/responses", `{"model":"tiny:cloud","model":null,"MODEL":"tiny"` + messages, "tiny:latest"},
		{"/v1/completions", `{"model":"tiny:cloud","MODEL":"tiny"` + messages + `{}`, "tiny:latest"},
		{"/api/chat", `{"model":"tiny:cloud","MODEL":"tiny"` + messages, "tiny:latest"},
	} {
		exchange(t, s.Server, "POST", c.path, c.body)
		n++
		if got := s.await(t, n).Model; got != c.want {
			t.Errorf("%s %s runs %q", c.path, c.body, got)
		}
	}

	// A body that is right about the model and wrong elsewhere runs nothing.
	r, _ := exchange(t, s.Server, "POST", "/api/chat", `{"model":"hang","messages":"x"}`)
	n++
	if got := s.await(t, n).Model; got != "" || r.StatusCode != 400 {
		t.Errorf("%s runs %q", r.Status, got)
	}

	exchange(t, s.Server, "GET", "/v1/models/TINY", "")
	if got := s.await(t, n+1).Model; got != "tiny:latest" {
		t.Errorf("path: %q", got)
	}
	exchange(t, s.Server, "DELETE", "/api/delete", `{"name":"tiny"}`)
	if got := s.await(t, n+2).Model; got != "tiny:latest" {
		t.Errorf("delete: %q", got)
	}
}

func TestFoldedKeysCount(t *testing.T) {
	t.Parallel()
	s := serve(t)
	r, _ := exchange(t, s.Server, "POST", "/api/generate", "{\"model\":\"tiny\",\"prompt\":\"x\",\"\u017Ftream\":false}")
	if r.Header.Get("Content-Type") == "application/x-ndjson" {
		t.Error("a long s is no s")
	}
}

// FormValue, which Ollama uses, prefers the URL's query to the form.
func TestTranscriptions(t *testing.T) {
	t.Parallel()
	s := serve(t)
	var form bytes.Buffer
	m := multipart.NewWriter(&form)
	m.WriteField("model", "tiny")
	file, _ := m.CreateFormFile("file", "a.wav")
	file.Write([]byte("RIFF"))
	m.Close()
	contentType := "Content-Type: " + m.FormDataContentType()
	for i, c := range []struct{ query, want string }{{"", "tiny:latest"}, {"?model=other:1b", "other:1b"}} {
		r, body := exchange(t, s.Server, "POST", "/v1/audio/transcriptions"+c.query, form.String(), contentType)
		if got := s.await(t, i+1).Model; got != c.want || r.StatusCode != 200 || !strings.Contains(parse(t, body)["text"].(string), "Hello") {
			t.Errorf("%q runs %q: %s %s", c.query, got, r.Status, body)
		}
	}
	if r, body := exchange(t, s.Server, "POST", "/v1/audio/transcriptions", "x", contentType); r.StatusCode != 400 {
		t.Errorf("%s %s", r.Status, body)
	}
	text := strings.Replace(form.String(), `name="model"`, `name="response_format"`, 1)
	text = strings.Replace(text, "tiny", "text", 1)
	if r, body := exchange(t, s.Server, "POST", "/v1/audio/transcriptions?model=tiny", text, contentType); !strings.HasPrefix(body, "Hello") {
		t.Errorf("%s %s", r.Status, body)
	}
}
