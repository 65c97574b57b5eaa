package handler_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

// TestWebSearchActsWithTheAccount: so it has the gate that models of ollama.com
// have, in bodies of any size and in any pieces.
func TestWebSearchActsWithTheAccount(t *testing.T) {
	t.Parallel()
	s, ollama := startBefore(t, config{}, standin.Options{})
	open, behindOpen := startBefore(t, config{proxy: func(o *handler.Options) { o.AllowCloud = true }}, standin.Options{})
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
				for _, site := range []*site{s, open} {
					w := site.dial(t)
					if chunked {
						w.write("%s", head("POST", c.path, bearer(site.key), "Transfer-Encoding: chunked")+"\r\n")
						middle := strings.Index(body, "web") + 2
						w.write("%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", middle, body[:middle], len(body)-middle, body[middle:])
					} else {
						w.send("POST", c.path, body, bearer(site.key))
					}
					a := w.answer("POST")
					w.Close()
					if refused := a.status == 403; refused != (c.refused && site == s) || !refused && a.status != 200 {
						t.Errorf("%s %s, %s, chunked %t, open %t: %d %.200s", c.path, c.tools, what, chunked, site == open, a.status, a.body)
					} else if refused {
						message, _ := errorIn(t, c.path, a.body)
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
	if a := s.ask(t, "POST", "/v1/responses", string(packed), "Content-Encoding: zstd"); a.status != 403 {
		t.Errorf("compressed: %d %s", a.status, a.body)
	}
}

// TestTheCommandIsToldThatThereIsNoCloud: GET /api/status is how it asks.
func TestTheCommandIsToldThatThereIsNoCloud(t *testing.T) {
	t.Parallel()
	const disabled, enabled = `{"cloud":{"disabled":true,"source":"config"}}`, `{"cloud":{"disabled":false,"source":"none"}}`
	s := start(t, config{})
	down := start(t, config{address: nobody})
	open := start(t, config{proxy: func(o *handler.Options) { o.AllowCloud = true }})
	for _, row := range []struct {
		site        *site
		method, key string
		status      int
		body        string
	}{
		{s, "GET", bearer(s.key), 200, disabled},
		{s, "GET", bearer(s.mint(false, "models=other:1b")), 200, disabled},
		{s, "GET", bearer(s.mint(false, "routes=chat")), 403, ""},
		{s, "GET", "X-No: key", 401, ""},
		{s, "HEAD", bearer(s.key), 405, ""}, // as Ollama has it
		{s, "POST", bearer(s.key), 405, ""},
		{down, "GET", bearer(down.key), 200, disabled},
		{open, "GET", bearer(open.key), 200, enabled},
		{open, "GET", bearer(open.mint(false, "models=other:1b")), 200, enabled},
	} {
		w := row.site.dial(t)
		w.send(row.method, "/api/status", "", row.key)
		a := w.answer(row.method)
		if a.status != row.status || row.body != "" && a.body != row.body {
			t.Errorf("%s with %.20s…: %d %s", row.method, row.key, a.status, a.body)
		}
		if a.status == 200 && a.header.Get("Content-Type") != "application/json; charset=utf-8" {
			t.Errorf("it is %q", a.header.Get("Content-Type"))
		}
	}
	s.nothingArrived(t)
	line := s.lines(t, 1)[0]
	if line["route"] != "/api/status" || line["outcome"] != "complete" || line["status"] != 200.0 || line["bytes"] != float64(len(disabled)) {
		t.Errorf("the log says %v", line)
	}
	boxes := []*box{newBox(t, "one", standin.Options{}), newBox(t, "two", standin.Options{})}
	several := startPool(t, config{proxy: func(o *handler.Options) { o.AllowCloud = true }}, boxes...)
	if a := several.ask(t, "GET", "/api/status", ""); a.body != enabled || boxes[0].requests()+boxes[1].requests() != 1 {
		t.Errorf("of several: %d %s", a.status, a.body)
	}
}
