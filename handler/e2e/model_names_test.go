package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

// startBefore runs a site before a stand-in that answers everything itself, the
// proxy's own questions too.
func startBefore(t *testing.T, c handlertest.Config, o standin.Options) (*handlertest.Site, *standin.Ollama) {
	t.Helper()
	ollama := standin.New(o)
	server := httptest.NewServer(ollama)
	t.Cleanup(server.Close)
	c.Address = server.Listener.Addr().String()
	return handlertest.Start(t, c), ollama
}

// seenBy are the requests that reached a stand-in, but for the proxy's own.
func seenBy(o *standin.Ollama) (all []*standin.Seen) {
	return slices.DeleteFunc(o.Seen(), func(s *standin.Seen) bool { return s.Header.Get("User-Agent") == "ollama-proxy" })
}

// namer is a way to name a model.
type namer struct {
	method, path, body string
	stored             bool // the name is one in Ollama's store
}

// namers are the routes that name a model, and how.
var namers = []namer{
	{"POST", "/api/chat", `{"model":%s,"stream":false,"messages":[{"role":"user","content":"hi"}]}`, false},
	{"POST", "/api/generate", `{"model":%s,"stream":false,"prompt":"hi"}`, false},
	{"POST", "/api/embed", `{"model":%s,"input":"hi"}`, false},
	{"POST", "/api/embeddings", `{"model":%s,"prompt":"hi"}`, false},
	{"POST", "/api/show", `{"model":%s}`, false},
	{"POST", "/api/show", `{"name":%s}`, false},
	{"POST", "/v1/chat/completions", `{"model":%s,"messages":[{"role":"user","content":"hi"}]}`, false},
	{"POST", "/v1/chat/completions", `{"MODEL":%s,"messages":[{"role":"user","content":"hi"}]}`, false},
	{"POST", "/v1/completions", `{"model":%s,"prompt":"hi"}`, false},
	{"POST", "/v1/embeddings", `{"model":%s,"input":"hi"}`, false},
	{"POST", "/v1/responses", `{"model":%s,"input":"hi"}`, false},
	{"POST", "/v1/messages", `{"model":%s,"max_tokens":9,"messages":[{"role":"user","content":"hi"}]}`, false},
	{"POST", "/v1/audio/transcriptions", form, false},
	{"GET", "/v1/models/", "", false},
	{"POST", "/api/push", `{"model":%s}`, true},
	{"POST", "/api/copy", `{"source":%s,"destination":"qwen3:copy"}`, true},
	{"POST", "/api/copy", `{"source":"qwen3:8b","destination":%s}`, true},
	{"POST", "/api/create", `{"model":%s,"from":"qwen3:8b"}`, true},
	{"POST", "/api/pull", `{"model":%s}`, false},
	{"DELETE", "/api/delete", `{"name":%s}`, false},
}

// spellings of names that are those of a model, those of another, and none.
func spellings(model string) []string {
	long := strings.Repeat("s", 600)
	return []string{
		model, strings.ToUpper(model), "library/" + model, "registry.ollama.ai/library/" + model, model + ":latest", "Library/" + model + ":LATEST",
		"https://registry.ollama.ai/library/" + model, "https:///library/" + model, "x:///library/" + model + ":latest", ":///library/" + model,
		"a b\t\x00:///library/" + model, long + "://registry.ollama.ai/library/" + model, long + ":///library/" + model, "://registry.ollama.ai/library/" + model,
		"a://b://registry.ollama.ai/library/" + model, "a://b:///library/" + model, "https:////" + model, "https:///" + model, "https://library/" + model, "https://" + model, "//library/" + model,
		model + ":local", model + ":LOCAL", model + ": local", model + ":latest:local", model + ":local:local", "https:///library/" + model + ":local", model + " :local",
		" " + model, model + "\n", "\t" + model + "\r\n", "\u00a0" + model, "\ufeff" + model, model + "\x00", "\x00" + model, model + "\u2028",
		model + ":", model + ":/", "/" + model, model + "/", ":" + model, model + "@sha256-" + strings.Repeat("0", 64), model + "@sha256:" + strings.Repeat("0", 64), "../library/" + model, "./" + model,
		model + "%20", "%74" + model, model + "\\", "\u212a" + model, "\u017f" + model, model + ":latest\u017f", strings.Repeat("a", 80), strings.Repeat("a", 81), strings.Repeat("h", 350) + "/a/b", strings.Repeat("h", 351) + "/a/b",
		"me/" + model, "host:5000/library/" + model, "registry.ollama.ai:443/library/" + model, model + "-2", "\xff" + model, `"`, "{}", "!MISSING!", strings.Repeat("x/", 40) + model,
	}
}

// TestGuardReadsNamesAsOllamaDoes sends each spelling of the name of a model at
// ollama.com, and of a local one, on each route, with a key for all models and with one
// for some. What reaches Ollama uses no ollama.com account, is for a model that the key
// allows, and names one. A key for a local model can use it in every spelling.
func TestGuardReadsNamesAsOllamaDoes(t *testing.T) {
	t.Parallel()
	for _, model := range []string{"mine", "tiny"} {
		for _, name := range spellings(model) {
			t.Run(fmt.Sprintf("%.40q", name), func(t *testing.T) {
				t.Parallel()
				s, ollama := startBefore(t, handlertest.Config{}, standin.Options{Models: []string{"tiny", "qwen3:8b"}, Remote: []string{"mine"}})
				for _, key := range []string{s.Admin, s.Mint(true, "models=tiny,qwen3:*")} {
					for _, n := range namers {
						tryName(s, t, ollama, n, name, key)
						ollama.Install("tiny", false) // if it was deleted
						ollama.Install("mine", true)
					}
				}
			})
		}
	}
}

// tryName asks for a model by a name, and looks at what has reached Ollama.
func tryName(s *handlertest.Site, t *testing.T, ollama *standin.Ollama, n namer, name, key string) {
	t.Helper()
	quoted, _ := json.Marshal(name)
	path, body, header := n.path, fmt.Sprintf(n.body, quoted), "X-None: 1"
	canSay := true // the name, on the route
	switch n.body {
	case form:
		var contentType string
		body, contentType = modelForm(name)
		header = "Content-Type: " + contentType
	case "":
		path, body = path+url.PathEscape(name), ""
		canSay = !strings.ContainsAny(name, "/\\\x00\t\r\n")
	}
	before := len(seenBy(ollama))
	w := s.Dial(t)
	defer w.Close()
	w.Send(n.method, path, body, handlertest.Bearer(key), header)
	a := w.Answer(n.method)
	arrived := seenBy(ollama)[before:]
	what := fmt.Sprintf("%s %.60s, a key for all: %t", n.method, n.path, key == s.Admin)
	canonical := standin.Canonical(name)
	if n.stored {
		canonical = standin.Stored(name)
	}
	for _, seen := range arrived {
		if seen.Account != "" {
			t.Errorf("%s acts with the account: %s", what, seen.Account)
		}
		if canonical == "" || key != s.Admin && seen.Model != "tiny:latest" && !strings.HasPrefix(seen.Model, "qwen3:") {
			t.Errorf("%s reaches Ollama, which takes it for %q", what, seen.Model)
		}
	}
	switch {
	case !canSay:
	case canonical == "" && (len(arrived) > 0 || a.Status != 400):
		t.Errorf("%s: no name, yet %d", what, a.Status)
	case canonical == "tiny:latest" && len(arrived) != 1:
		t.Errorf("%s does not reach Ollama: %d %s", what, a.Status, a.Body)
	case canonical == "mine:latest" && a.Status != 403:
		t.Errorf("%s: %d %s", what, a.Status, a.Body)
	}
}

// TestEncodedFormIsRefused: another form, with another model, could be in it once it is
// decoded.
func TestEncodedFormIsRefused(t *testing.T) {
	t.Parallel()
	s, ollama := startBefore(t, handlertest.Config{}, standin.Options{Models: []string{"tiny"}})
	body, contentType := modelForm("tiny")
	for _, coding := range []string{"zstd", "gzip"} {
		a := s.Ask(t, "POST", "/v1/audio/transcriptions", body, "Content-Type: "+contentType, "Content-Encoding: "+coding)
		if arrived := seenBy(ollama); a.Status != 400 || len(arrived) != 0 {
			t.Errorf("%s: %s, and Ollama got %d requests", coding, a, len(arrived))
		}
	}
}

// modelForm is a transcription's form.
func modelForm(model string) (body, contentType string) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	w.WriteField("model", model)
	file, _ := w.CreateFormFile("file", "a.wav")
	file.Write([]byte("RIFF"))
	w.Close()
	return b.String(), w.FormDataContentType()
}

// TestLocalIsATagOfStoredNames: a key for tiny is not for tiny:local, where Ollama
// stores names.
func TestLocalIsATagOfStoredNames(t *testing.T) {
	t.Parallel()
	s, ollama := startBefore(t, handlertest.Config{}, standin.Options{Models: []string{"tiny", "tiny:local"}})
	plain, local := s.Mint(true, "models=tiny"), s.Mint(true, "models=tiny:local")
	for _, row := range []struct {
		method, path, body, key string
		status                  int
	}{
		{"POST", "/api/push", `{"model":"tiny:local"}`, plain, 403},
		{"POST", "/api/push", `{"model":"tiny:local"}`, local, 200},
		{"POST", "/api/copy", `{"source":"tiny:local","destination":"tiny"}`, plain, 403},
		{"POST", "/api/copy", `{"source":"tiny","destination":"tiny:local"}`, plain, 403},
		{"POST", "/api/copy", `{"source":"tiny:local","destination":"https:///library/tiny:local"}`, local, 200},
		{"POST", "/api/create", `{"model":"tiny:local","from":"tiny"}`, plain, 403},
		{"POST", "/api/create", `{"model":"tiny","from":"tiny:local"}`, plain, 403}, // some versions take the one for it, some the other
		{"POST", "/api/create", `{"model":"tiny","from":"tiny"}`, plain, 200},
		{"POST", "/api/chat", `{"model":"tiny:local"}`, plain, 200},
		{"POST", "/api/chat", `{"model":"tiny:local"}`, local, 403},
		{"POST", "/api/pull", `{"model":"tiny:local"}`, plain, 200},
		{"DELETE", "/api/delete", `{"model":"tiny:local"}`, local, 403},
	} {
		w := s.Dial(t)
		w.Send(row.method, row.path, row.body, handlertest.Bearer(row.key))
		if a := w.Answer(row.method); a.Status != row.status {
			t.Errorf("%s %s with the key for tiny:local %t: %d %s", row.path, row.body, row.key == local, a.Status, a.Body)
		}
	}
	w := s.Dial(t)
	w.Send("GET", "/api/tags", "", handlertest.Bearer(plain))
	if a := w.Answer("GET"); strings.Contains(a.Body, "tiny:local") || !strings.Contains(a.Body, "tiny:latest") {
		t.Errorf("the list for tiny is %s", a.Body)
	}
	for _, seen := range seenBy(ollama) {
		if seen.Account != "" {
			t.Errorf("%s %s", seen.URI, seen.Body)
		}
	}
}

// TestRequestWithoutAModelIsAnsweredByOllama: there is nothing to check.
func TestRequestWithoutAModelIsAnsweredByOllama(t *testing.T) {
	t.Parallel()
	s, ollama := startBefore(t, handlertest.Config{}, standin.Options{})
	for i, r := range namers {
		if r.method == "GET" || r.body == form {
			continue
		}
		for _, body := range []string{"{}", fmt.Sprintf(r.body, `""`), fmt.Sprintf(r.body, "null")} {
			before := len(seenBy(ollama))
			w := s.Dial(t)
			w.Send(r.method, r.path, body, handlertest.Bearer(s.Admin))
			if a := w.Answer(r.method); len(seenBy(ollama)) != before+1 {
				t.Errorf("%d: %s %s does not reach Ollama: %d %s", i, r.path, body, a.Status, a.Body)
			}
		}
	}
}
