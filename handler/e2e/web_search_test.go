package e2e_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

// TestWebSearchUsesTheAccount: so it is refused like models of ollama.com, in bodies of
// any size and in any pieces.
func TestWebSearchUsesTheAccount(t *testing.T) {
	t.Parallel()
	s, ollama := startBefore(t, handlertest.Config{}, standin.Options{})
	open, behindOpen := startBefore(t, handlertest.Config{Proxy: func(o *handler.Options) { o.AllowCloud = true }}, standin.Options{})
	const hosted, own = `[{"name":"x"},{"type":"web_search_20250305","name":"web_search"}]`, `[{"type":"custom","name":"web_search","input_schema":{"type":"object","properties":{"type":{"const":"web_search"}}}}]`
	for i, c := range []struct {
		path, tools string
		refused     bool
	}{
		{"/v1/messages", hosted, true},
		{"/v1/messages", `[{"type":"web_search"}]`, true},
		{"/v1/messages", own, false},
		{"/v1/responses", `[{"type":"web_search"}]`, true},
		{"/v1/responses", `[{"typ\u0065":"web\u005fsearch"}]`, true},
		{"/v1/responses", `[{"type":"function","name":"web_search","parameters":{"type":"object"}}]`, false},
		{"/v1/chat/completions", `[{"type":"web_search"}]`, false}, // Ollama knows none there
		{"/api/chat", `[{"type":"web_search","function":{"name":"x"}}]`, false},
	} {
		rest := `"model":"tiny","max_tokens":9,"input":"hi","messages":[{"role":"user","content":"hi"}]`
		pad := strings.Repeat("iVBORw0KGgo=", 120_000)
		for what, body := range map[string]string{
			"small":       fmt.Sprintf(`{"tools":%s,%s}`, c.tools, rest),
			"large, late": fmt.Sprintf(`{"pad":%q,%s,"tools":%s}`, pad, rest, c.tools),
			"large, soon": fmt.Sprintf(`{"tools":%s,%s,"pad":%q}`, c.tools, rest, pad),
		} {
			if what != "small" && i != 0 && i != 2 && i != 3 {
				continue // takes long and shows nothing new
			}
			for _, chunked := range []bool{false, true} {
				before := len(seenBy(ollama))
				for _, site := range []*handlertest.Site{s, open} {
					w := site.Dial(t)
					if chunked {
						w.Writef("%s", handlertest.Head("POST", c.path, handlertest.Bearer(site.Key), "Transfer-Encoding: chunked")+"\r\n")
						middle := strings.Index(body, "web") + 2
						w.Writef("%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", middle, body[:middle], len(body)-middle, body[middle:])
					} else {
						w.Send("POST", c.path, body, handlertest.Bearer(site.Key))
					}
					a := w.Answer("POST")
					w.Close()
					if refused := a.Status == 403; refused != (c.refused && site == s) || !refused && a.Status != 200 {
						t.Errorf("%s %s, %s, chunked %t, open %t: %d %.200s", c.path, c.tools, what, chunked, site == open, a.Status, a.Body)
					} else if refused {
						message, _ := handlertest.ErrorIn(t, c.path, a.Body)
						if !strings.Contains(message, "web search") || !strings.Contains(message, "ollama.com") || !strings.Contains(message, "--allow-cloud") {
							t.Errorf("%s: %q", c.path, message)
						}
					}
				}
				for _, seen := range seenBy(ollama)[before:] {
					if seen.Account != "" {
						t.Errorf("%s %s, %s: acts with the account", c.path, c.tools, what)
					}
				}
			}
		}
	}
	searched := false
	for _, seen := range seenBy(behindOpen) {
		searched = searched || seen.Account == "web_search"
	}
	if !searched {
		t.Error("with --allow-cloud nothing is searched for")
	}
	encoder, _ := zstd.NewWriter(nil)
	packed := encoder.EncodeAll([]byte(`{"model":"tiny","input":"hi","tools":[{"type":"web_search"}]}`), nil)
	if a := s.Ask(t, "POST", "/v1/responses", string(packed), "Content-Encoding: zstd"); a.Status != 403 {
		t.Errorf("compressed: %d %s", a.Status, a.Body)
	}
}

// TestCloudStatus: GET /api/status is how the ollama command asks whether it may offer
// models of ollama.com.
func TestCloudStatus(t *testing.T) {
	t.Parallel()
	const disabled, enabled = `{"cloud":{"disabled":true,"source":"config"}}`, `{"cloud":{"disabled":false,"source":"none"}}`
	s := handlertest.Start(t, handlertest.Config{})
	down := handlertest.Start(t, handlertest.Config{Address: handlertest.ClosedAddress})
	open := handlertest.Start(t, handlertest.Config{Proxy: func(o *handler.Options) { o.AllowCloud = true }})
	for _, row := range []struct {
		site        *handlertest.Site
		method, key string
		status      int
		body        string
	}{
		{s, "GET", handlertest.Bearer(s.Key), 200, disabled},
		{s, "GET", handlertest.Bearer(s.Mint(false, "models=other:1b")), 200, disabled},
		{s, "GET", handlertest.Bearer(s.Mint(false, "routes=chat")), 403, ""},
		{s, "GET", "X-No: key", 401, ""},
		{s, "HEAD", handlertest.Bearer(s.Key), 405, ""}, // as Ollama has it
		{s, "POST", handlertest.Bearer(s.Key), 405, ""},
		{down, "GET", handlertest.Bearer(down.Key), 200, disabled},
		{open, "GET", handlertest.Bearer(open.Key), 200, enabled},
		{open, "GET", handlertest.Bearer(open.Mint(false, "models=other:1b")), 200, enabled},
	} {
		w := row.site.Dial(t)
		w.Send(row.method, "/api/status", "", row.key)
		a := w.Answer(row.method)
		if a.Status != row.status || row.body != "" && a.Body != row.body {
			t.Errorf("%s with %.20s…: %d %s", row.method, row.key, a.Status, a.Body)
		}
		if a.Status == 200 && a.Header.Get("Content-Type") != "application/json; charset=utf-8" {
			t.Errorf("it is %q", a.Header.Get("Content-Type"))
		}
	}
	s.ExpectNoRequest(t)
	line := s.AccessLog(t, 1)[0]
	if line["route"] != "/api/status" || line["outcome"] != "complete" || line["status"] != 200.0 || line["bytes"] != float64(len(disabled)) {
		t.Errorf("the log says %v", line)
	}
	boxes := []*handlertest.Box{handlertest.NewBox(t, "one", standin.Options{}), handlertest.NewBox(t, "two", standin.Options{})}
	several := handlertest.StartPool(t, handlertest.Config{Proxy: func(o *handler.Options) { o.AllowCloud = true }}, boxes...)
	if a := several.Ask(t, "GET", "/api/status", ""); a.Body != enabled || boxes[0].Requests()+boxes[1].Requests() != 1 {
		t.Errorf("of several: %d %s", a.Status, a.Body)
	}
}
