package endpoint_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler/endpoint"
)

// TestParseHost has the cases that Ollama's own tests have for OLLAMA_HOST, for a
// server and for a client of it, and what it makes of them.
func TestParseHost(t *testing.T) {
	for value, want := range map[string]string{
		"":                    "http://127.0.0.1:11434",
		" ":                   "http://127.0.0.1:11434",
		`""`:                  "http://127.0.0.1:11434",
		"1.2.3.4":             "http://1.2.3.4:11434",
		":1234":               "http://127.0.0.1:1234",
		":11434":              "http://127.0.0.1:11434",
		"1.2.3.4:1234":        "http://1.2.3.4:1234",
		"example.com":         "http://example.com:11434",
		"example.com:1234":    "http://example.com:1234",
		":66000":              "http://127.0.0.1:11434",
		":-1":                 "http://127.0.0.1:11434",
		"1.2.3.4:port":        "http://1.2.3.4:11434",
		"[::1]":               "http://[::1]:11434",
		"[::]":                "http://[::1]:11434",
		"::1":                 "http://[::1]:11434",
		"[::1]:1337":          "http://[::1]:1337",
		" 1.2.3.4 ":           "http://1.2.3.4:11434",
		`"1.2.3.4"`:           "http://1.2.3.4:11434",
		` " 1.2.3.4 " `:       "http://1.2.3.4:11434",
		"'1.2.3.4'":           "http://1.2.3.4:11434",
		"http://1.2.3.4":      "http://1.2.3.4:80",
		"http://1.2.3.4:4321": "http://1.2.3.4:4321",
		"http://1.2.3.4/":     "http://1.2.3.4:80",
		"https://1.2.3.4":     "https://1.2.3.4:443",
		"https://1.2.3.4:99":  "https://1.2.3.4:99",
		"ollama.com":          "https://ollama.com:443",
		"http://":             "http://127.0.0.1:80",

		"127.0.0.1":            "http://127.0.0.1:11434",
		"0.0.0.0":              "http://127.0.0.1:11434",
		"0.0.0.0:1234":         "http://127.0.0.1:1234",
		"[::]:1234":            "http://[::1]:1234",
		"192.168.1.5:8080":     "http://192.168.1.5:8080",
		"https://0.0.0.0:4321": "https://127.0.0.1:4321",
		"http://::1":           "http://[::1]:80",
		"host.docker.internal": "http://host.docker.internal:11434",
		"my_ollama:11434":      "http://my_ollama:11434",

		":0":                          "no such port",
		"https://example.com/ollama":  "it must end after host and port",
		"http://::1:11434":            "in brackets",
		"http://user:hunter2@1.2.3.4": "no user and no password",
		"ftp://1.2.3.4":               "not a scheme",
		"two words":                   "not an address of Ollama",
		"\xff\xfeh\x00":               "not an address of Ollama",
	} {
		checkURL(t, value, want, endpoint.ParseHost)
	}
}

func TestParseURL(t *testing.T) {
	for value, want := range map[string]string{
		"http://127.0.0.1:11434":  "http://127.0.0.1:11434",
		"http://127.0.0.1:11434/": "http://127.0.0.1:11434",
		" http://a ":              "http://a:80",
		"https://a":               "https://a:443",
		"a":                       "http://a:11434",
		"a:1":                     "http://a:1",
		":11434":                  "http://127.0.0.1:11434",
		"0.0.0.0":                 "http://127.0.0.1:11434",
		"::1":                     "http://[::1]:11434",
		"[::1]":                   "http://[::1]:11434",
		"http://[::1]":            "http://[::1]:80",
		"http://[::1]:11434":      "http://[::1]:11434",
		"http://[::]:11434":       "http://[::1]:11434",

		"http://::1:11434":                "in brackets",
		"http://::1":                      "in brackets",
		"::1:11434":                       "in brackets",
		"http://[::1":                     "in brackets",
		"http://a:b:c":                    "in brackets",
		"http://":                         "not an address of Ollama",
		"":                                "not an address of Ollama",
		"http://a b":                      "not an address of Ollama",
		`"http://a"`:                      "not a scheme",
		"http://\u00e4":                   "not an address of Ollama",
		"http://a:0":                      "no such port",
		"http://a:66000":                  "no such port",
		"http://a:":                       "no such port",
		"http://a/ollama":                 "it must end after host and port",
		"http://a:1/v1":                   "it must end after host and port",
		"a/api":                           "it must end after host and port",
		"http://a?x":                      "it must end after host and port",
		"http://a#x":                      "it must end after host and port",
		"http://user:hunter2@a":           "no user and no password",
		"http://hunter2@a:1":              "no user and no password",
		"user:hunter2@a":                  "no user and no password",
		"http://user:hunt/er2@a":          "no user and no password",
		"ftp://a":                         "not a scheme",
		"unix:///run/ollama.sock":         "not a scheme",
		"HTTP://a":                        "not a scheme",
		"http://http://a":                 "it must end after host and port",
		"https://gpu.example.com/ollama/": "it must end after host and port",
	} {
		checkURL(t, value, want, endpoint.ParseURL)
	}
}

// checkURL wants a URL, or what an error says, and that it shows no password.
func checkURL(t *testing.T, value, want string, parse func(string) (*url.URL, error)) {
	t.Helper()
	switch u, err := parse(value); {
	case err == nil && u.String() == want:
	case err != nil && u == nil && strings.Contains(err.Error(), want) && !strings.Contains(err.Error(), "hunt"):
	default:
		t.Errorf("%q: %v, %v instead of %s", value, u, err, want)
	}
}
