package signer

import (
	"strings"
	"testing"
)

func TestCanonicalModel(t *testing.T) {
	for _, row := range []struct{ name, want string }{
		{"tiny", "tiny:latest"},
		{"TINY", "tiny:latest"},
		{"Tiny:LATEST", "tiny:latest"},
		{"library/tiny", "tiny:latest"},
		{"registry.ollama.ai/library/tiny:latest", "tiny:latest"},
		{"http://registry.ollama.ai/library/tiny", "tiny:latest"},
		{"HTTPS://Registry.Ollama.AI/Library/Tiny", "tiny:latest"},
		{"tiny:local", "tiny:latest"},
		{"tiny:1b:local", "tiny:1b"},
		{"tiny: LOCAL ", "tiny:latest"},
		{"  tiny  ", "tiny:latest"},
		{"tiny\n", "tiny:latest"},
		{"alice/tiny", "alice/tiny:latest"},
		{"hf.co/unsloth/Qwen3-8B-GGUF:Q4_K_M", "hf.co/unsloth/qwen3-8b-gguf:q4_k_m"},
		{"localhost:5000/a/b:c", "localhost:5000/a/b:c"},
		{"", ""},
		{" ", ""},
		{":", ""},
		{"tiny:", ""},
		{":tag", ""},
		{"/tiny", ""},
		{"tiny/", ""},
		{"a//tiny", ""},
		{"tiny:1b:2b", ""},
		{"-tiny", ""},
		{"..", ""},
		{"../tiny", ""},
		{"tiny tiny", ""},
		{"tiny\x00", ""},
		{"größe", ""},
		{"ſtiny", ""},
		{"tiny@sha256:0", ""},
		{strings.Repeat("a", maxModelName+1), ""},
	} {
		got, ok := CanonicalModel(row.name)
		if got != row.want || ok != (row.want != "") {
			t.Errorf("%q: %q, %v", row.name, got, ok)
		}
		if again, _ := CanonicalModel(got); ok && again != got {
			t.Errorf("%q is not its own canonical spelling: %q", got, again)
		}
	}
}

func TestIsCloudModel(t *testing.T) {
	for name, want := range map[string]bool{
		"tiny:cloud": true, "TINY:Cloud": true, "tiny:latest-cloud": true, "gpt-oss:120b-cloud": true, "tiny-cloud": true,
		" tiny:cloud\n": true, "tiny: cloud ": true, "alice/tiny:cloud": true, "https://registry.ollama.ai/library/tiny:120b-CLOUD": true,
		"tiny:cloud:local": true, "tiny:local:cloud": true,
		"tiny": false, "tiny:latest": false, "cloud": false, "cloud:latest": false, "tiny:cloudy": false, "cloud/tiny": false, "tiny:local": false,
	} {
		if got := IsCloudModel(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}

func TestGlobs(t *testing.T) {
	for _, row := range []struct {
		pattern, model string
		want           bool
	}{
		{"llama3.2", "llama3.2", true},
		{"llama3.2", "LLAMA3.2:latest", true},
		{"llama3.2", "llama3.2:1b", false},
		{"llama3.2", "llama3x2", false},
		{"Library/Llama3.2", "llama3.2", true},
		{"registry.ollama.ai/library/llama3.2:*", "llama3.2:1b", true},
		{"llama3.2:*", "llama3.2", true},
		{"llama3.2:*", "llama3.2:1b", true},
		{"llama3.2:*", "llama3.2-vision", false},
		{"llama*", "llama3.2:1b", true},
		{"llama*", "codellama", false},
		{"*", "hf.co/a/b:q4", true},
		{"*:1b", "alice/tiny:1b", true},
		{"*-embed-*", "nomic-embed-text", true},
		{"alice/*", "alice/tiny", true},
		{"alice/*", "tiny", false},
		{"alice/tiny", "mallory/tiny", false},
		{"tiny", "hf.co/library/tiny", false},
		{"**tiny**", "tiny", true},
		{"a*b*c*d", "axbxcxd", true},
		{"a*b*c*d", "axbxcxdx", false},
	} {
		if !isGlob([]byte(row.pattern)) {
			t.Errorf("%q is no pattern", row.pattern)
			continue
		}
		canonical, ok := CanonicalModel(row.model)
		if !ok {
			t.Fatalf("%q is no model", row.model)
		}
		if got := glob(row.pattern).matches(canonical); got != row.want {
			t.Errorf("%q on %q: %v", row.pattern, row.model, got)
		}
	}
}
