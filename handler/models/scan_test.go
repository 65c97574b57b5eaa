package models

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// decode reads the names as Ollama does: by encoding/json into a struct.
func decode(body []byte) (n Names, ok bool) {
	var v struct {
		Model       string `json:"model"`
		Name        string `json:"name"`
		Source      string `json:"source"`
		Destination string `json:"destination"`
		From        string `json:"from"`
		RemoteHost  string `json:"remote_host"`
		Stream      bool   `json:"stream"`
	}
	if err := json.NewDecoder(bytes.NewReader(body)).Decode(&v); err != nil {
		return Names{}, false
	}
	return Names{Model: v.Model, name: v.Name, source: v.Source, destination: v.Destination, from: v.From, RemoteHost: v.RemoteHost, Stream: v.Stream}, true
}

// decodeExact reads the model as Ollama does under /v1 to learn whether it runs at
// ollama.com.
func decodeExact(body []byte) (model string) {
	var v map[string]json.RawMessage
	if json.Unmarshal(body, &v) != nil || json.Unmarshal(v["model"], &model) != nil {
		return ""
	}
	return model
}

// decodesHosted reports whether any version of Ollama would run a tool of the body
// itself: by the whole type or its beginning, with or without spaces before it.
func decodesHosted(body []byte) bool {
	var v struct {
		Tools []struct {
			Type string `json:"type"`
		} `json:"tools"`
	}
	if json.NewDecoder(bytes.NewReader(body)).Decode(&v) != nil {
		return false
	}
	for _, tool := range v.Tools {
		if strings.HasPrefix(strings.TrimSpace(tool.Type), "web_search") {
			return true
		}
	}
	return false
}

// mentionsHosted reports whether any string in the first value of the body contains the
// word.
func mentionsHosted(body []byte) bool {
	d := json.NewDecoder(bytes.NewReader(body))
	for {
		token, err := d.Token()
		if err != nil {
			return false
		}
		if s, ok := token.(string); ok && strings.Contains(strings.ToLower(s), "web_search") {
			return true
		}
	}
}

// readNames scans a body in pieces of the given size.
func readNames(body []byte, size int) (n Names, consumed int, done bool) {
	var r Scanner
	for consumed < len(body) && !done {
		var k int
		k, done = r.Read(body[consumed:min(consumed+size, len(body))])
		consumed += k
	}
	return r.Names, consumed, done
}

var nameBodies = []string{
	`{"model":"tiny"}`,
	`{"model":"tiny","MODEL":"other:1b"}`,
	`{"MODEL":"other:1b","model":"tiny"}`,
	`{"model":"tiny","model":"other:1b"}`,
	`{"model":"other:1b","Model":"tiny","stream":true}`, `{"model":"other:1b","Model":"tiny","model":null}`, `{"m\u006fdel":"other:1b","ModeL":"tiny"}`,
	`{"model":"tiny","model":null}`,
	`{"model":null}`,
	`{"m\u006fdel":"other:1b"}`,
	`{"\u006d\u006F\u0064\u0065\u006c":"\u006fther"}`,
	`{"ſource":"tiny","deſtination":"other"}`,
	`{"model":"tiny"} {"model":"other"}`,
	`{"model":"tiny"}garbage`,
	` { "messages" : [ { "model" : "inner" , "content" : "a \"model\": \"x\" }" } ] , "model" : "tiny" } `,
	`{"options":{"model":"inner"},"model":"tiny","stream":true,"n":-1.5e3}`,
	`{"prompt":"\\","model":"tiny"}`,
	`{"prompt":"\\\"","model":"tiny"}`,
	`{"a":{},"b":[],"c":[[{}]],"model":"tiny"}`,
	`{"stream":true}`, `{"stream":true,"STREAM":false}`, `{"stream":false,"\u017ftream":true}`, `{"stream":true,"stream":null}`, `{"stream" : true }`, `{"messages":[{"stream":true}]}`,
	`{"from":"b","remote_host":"c","Remote_Ho\u017ft":"d"}`,
	`{"name":"a","from":"b","source":"c","destination":"d"}`,
	`{"model":"` + strings.Repeat("a", 700) + `"}`,
	`{"` + strings.Repeat("k", 10000) + `":"` + strings.Repeat("v", 10000) + `","model":"tiny"}`,
	`{"model":5}`, `{"model":["tiny"]}`, `{"model":{"model":"tiny"}}`, `{"model":true,"model":"tiny"}`,
	"\ufeff" + `{"model":"tiny"}`, `["model","tiny"]`, `"model"`, `null`, ``, `{`, `{}`, `{"model":"tiny"`, `{"model"}`, `{"model":}`,
	`{"model":"\ud83d\ude00"}`, "{\"model\":\"\xff\"}", "{\"mod\xffel\":\"x\"}", `{"model":"a\/b"}`, "{\"model\":\"a\nb\"}",
}

// toolBodies are bodies with tools. hosted is set if Ollama might run one of the tools
// itself.
var toolBodies = []struct {
	body   string
	hosted bool
}{
	{`{"tools":[{"type":"web_search"}]}`, true},
	{`{"tools":[{"type":"web_search_20250305","name":"web_search"}],"model":"tiny"}`, true},
	{`{"model":"tiny","tools":[{"type":"function"},{"name":"x","type":"web_search_preview","y":{}}],"stream":true}`, true},
	{` { "tools" : [ { } , { "type" : "web_search" } ] , "model" : "tiny" } `, true},
	{`{"TOOLS":[{"TyPe":"web_search"}]}`, true},
	{`{"tool\u017f":[{"t\u0079pe":"\u0077eb_search"}]}`, true},
	{`{"toolſ":[{"type":"\u0077\u0065\u0062\u005f\u0073\u0065\u0061\u0072\u0063\u0068"}]}`, true},
	{`{"tools":[{"type":" \n\tweb_search"}]}`, true},
	{`{"tools":[{"type":"function","type":"web_search"}]}`, true},
	{`{"tools":[{"type":"web_search","type":"function"}]}`, true},
	{`{"tools":[{"type":"web_search","type":null}]}`, true},
	{`{"tools":[{"type":"web_search"}],"tools":[{"name":"x"}]}`, true}, // Go may keep the type that was decoded first
	{`{"tools":[{"type":"web_search"}],"TOOLS":[]}`, true},
	{`{"tools":[],"tools":[{"type":"web_search"}]}`, true},
	{`{"tools":null,"tools":[null,{"type":"web_search"}]}`, true},
	{`{"tools":[{"parameters":{"a":[{}]},"type":"web_search"}]}`, true},
	{`{"tools":[{"name":"]}","x":"\"}]","type":"web_search"}]}`, true},
	{`{"tools":[{"type":"namespace","name":"n","tools":[{"type":"web_search"}]}]}`, true},
	{`{"tools":[{"tools":[{"x":[[{}]]}]},{"type":"web_search"}]}`, true},
	{`{"tools":[{"type":"` + strings.Repeat(" ", maxNameValue) + `web_search"}]}`, true},

	{`{"tools":[{"type":"function","name":"web_search"}]}`, false},
	{`{"tools":[{"type":"custom","name":"web_search","input_schema":{"type":"web_search","tools":[{"type":"web_search"}]}}]}`, false},
	{`{"tools":[{"type":"function","parameters":{"properties":{"type":"web_search"}}}]}`, false},
	{`{"type":"web_search","tools":[{"type":"function"}]}`, false},
	{`{"messages":[{"type":"web_search","tools":[{"type":"web_search"}]}]}`, false},
	{`{"tools":["web_search",["type","web_search"],[{"type":"web_search"}],{"type":"my_web_search"}]}`, false},
	{`{"tools":[{"type":"web","x":"web_search"}],"tool":[{"type":"web_search"}],"toolsx":[{"type":"web_search"}]}`, false},
	{`{"tools":"web_search"}`, false}, {`{"tools":{"type":"web_search"}}`, false},
	{`{"tools":[{}],"x":"{\"tools\":[{\"type\":\"web_search\"}]}"}`, false},
	{`{"tools":[]}{"tools":[{"type":"web_search"}]}`, false},
}

func TestToolsThatOllamaRunsAreFound(t *testing.T) {
	for _, row := range toolBodies {
		for _, size := range []int{1, 2, 3, 7, len(row.body)} {
			if got, _, done := readNames([]byte(row.body), size); (got.WebSearch || got.LongTool) != row.hosted || !done {
				t.Errorf("%.80s in pieces of %d: %t %t, done %t", row.body, size, got.WebSearch, got.LongTool, done)
			}
		}
	}
}

func checkNames(t *testing.T, body []byte) {
	t.Helper()
	want, ok := decode(body)
	for _, size := range []int{1, 2, 3, 7, 64, len(body) + 1} {
		got, consumed, done := readNames(body, size)
		if !ok {
			continue
		}
		isObject := bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{"))
		if !isObject {
			if !got.Unreadable {
				t.Errorf("%q in pieces of %d: no object, yet readable", body, size)
			}
			continue
		}
		for _, s := range []string{want.Model, want.name, want.source, want.destination, want.from, want.RemoteHost} {
			if len(s) > maxNameValue/6 {
				return
			}
		}
		if got.Unreadable && longName(body) {
			return
		}
		if exact := decodeExact(body); exact != "" && exact != got.Exact {
			t.Errorf("%q in pieces of %d: %q, Ollama may take it for %q", body, size, got.Exact, exact)
		}
		got.Exact = ""
		if decodesHosted(body) && !got.WebSearch && !got.LongTool {
			t.Errorf("%q in pieces of %d: there is a tool that Ollama runs itself", body, size)
		}
		if got.WebSearch && !mentionsHosted(body) {
			t.Errorf("%q in pieces of %d: no such word in it, yet a tool that Ollama runs itself", body, size)
		}
		got.WebSearch, got.LongTool = false, false
		if got != want || !done {
			t.Errorf("%q in pieces of %d: %+v, done %v, Ollama reads %+v", body, size, got, done, want)
		}
		// Not complete one byte before the value ends: otherwise Ollama could begin before
		// the model is known.
		if _, early := decode(body[:consumed-1]); early {
			t.Errorf("%q in pieces of %d: complete before byte %d", body, size, consumed)
		}
	}
}

// longName reports whether a name in the body may exceed the bound, even one that does
// not win.
func longName(body []byte) bool { return len(body) > maxNameValue }

func TestNamesAreReadAsByOllama(t *testing.T) {
	for _, body := range nameBodies {
		checkNames(t, []byte(body))
	}
	for _, row := range toolBodies {
		checkNames(t, []byte(row.body))
	}
}

func TestWhatOllamaCannotReadIsUnreadable(t *testing.T) {
	for _, body := range []string{`{"model":5}`, `{"model":["tiny"]}`, `{"model":{"model":"tiny"}}`, `{"model":true,"model":"tiny"}`, `["model"]`, "\ufeff{}", `{"model":"` + strings.Repeat("a", maxNameValue) + `"}`} {
		if got, _, _ := readNames([]byte(body), len(body)); !got.Unreadable {
			t.Errorf("%.40q: %+v", body, got)
		}
	}
}

func FuzzNames(f *testing.F) {
	for _, body := range nameBodies {
		f.Add([]byte(body))
	}
	for _, row := range toolBodies {
		f.Add([]byte(row.body))
	}
	f.Fuzz(checkNames)
}

func BenchmarkNames(b *testing.B) {
	for _, row := range []struct{ name, body string }{
		{"chat", `{"model":"llama3.2","stream":true,"messages":[{"role":"user","content":"Why is the sky blue?"}]}`},
		{"1MB image", `{"model":"llava","prompt":"What is this?","images":["` + strings.Repeat("iVBORw0KGgoAAAAN", 1<<16) + `"]}`},
		{"1MB of escapes", `{"model":"llava","prompt":"` + strings.Repeat(`a line of text\n`, 1<<16) + `"}`},
	} {
		b.Run(row.name, func(b *testing.B) {
			b.SetBytes(int64(len(row.body)))
			b.ReportAllocs()
			body := []byte(row.body)
			for b.Loop() {
				var r Scanner
				r.Read(body)
			}
		})
	}
}
