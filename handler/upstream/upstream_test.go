package upstream_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler/upstream"
)

func TestParse(t *testing.T) {
	for _, c := range []struct{ parts, want string }{ // parts are separated by spaces
		{"http://127.0.0.1:11434", "127.0.0.1:11434=http://127.0.0.1:11434 1"},
		{"10.0.0.5", "10.0.0.5:11434=http://10.0.0.5:11434 1"},
		{"gpu1=http://10.0.0.5:11434 weight=2 https://b.example", "gpu1=http://10.0.0.5:11434 2, b.example:443=https://b.example:443 1"},
		{"http://a weight=7 b=http://c weight=1000", "a:80=http://a:80 7, b=http://c:80 1000"},
		{"A.b-c_9=http://[::1]:1", "A.b-c_9=http://[::1]:1 1"},
		{"a=http://0.0.0.0:11434 b=http://[::] c=http://[::ffff:0.0.0.0]:1", "a=http://127.0.0.1:11434 1, b=http://[::1]:80 1, c=http://127.0.0.1:1 1"},

		{"", "no Ollama"},
		{"weight=2", "stands before any URL"},
		{"weight=2 http://a", "stands before any URL"},
		{"http://a weight=2 weight=3", "two weights"},
		{"http://a weight=0", "not from weight=1"},
		{"http://a weight=1001", "not from weight=1"},
		{"http://a weight=-1", "not from weight=1"},
		{"http://a weight=2.5", "not from weight=1"},
		{"http://a weight=", "not from weight=1"},
		{"http://a wieght=2", "after a name comes a URL"},
		{"gpu=10.0.0.5:11434", "after a name comes a URL"},
		{"gpu=", "after a name comes a URL"},
		{"=http://a", "not a name"},
		{"gpu/1=http://a", "not a name"},
		{"gpü=http://a", "not a name"},
		{strings.Repeat("a", 65) + "=http://a", "not a name"},
		{"gpu=ftp://a", "not a scheme"},
		{"gpu=http://a/path", "it must end after host and port"},
		{"gpu=http://user:hunter2@a", "no user and no password"},
		{"gpu=user:hunter2@a", "after a name comes a URL"},
		{"http://a http://b http://a:80", "the same Ollama"},
		{"g=http://a g=http://b", "the same name"},
		{"g=http://a h=http://a", "the same Ollama"},
	} {
		all, err := upstream.Parse(strings.Fields(c.parts))
		var got []string
		for _, u := range all {
			got = append(got, fmt.Sprint(u, " ", u.Weight))
		}
		switch text := strings.Join(got, ", "); {
		case err == nil && text == c.want:
		case err != nil && text == "" && strings.Contains(err.Error(), c.want) && !strings.Contains(err.Error(), "hunter2"):
		default:
			t.Errorf("%q: %q, %v", c.parts, text, err)
		}
	}
}
