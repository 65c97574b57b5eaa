package signer

import (
	"strings"
	"testing"
)

// FuzzGlob: a pattern is made canonical here as the definition has it, matches what
// trying everything says it does, and a model's own name matches that model.
func FuzzGlob(f *testing.F) {
	for _, row := range [][2]string{
		{"llama3.2", "llama3.2:latest"}, {"LLAMA*", "llama3.2:1b"}, {"library/tiny", "tiny:latest"}, {"Registry.Ollama.AI/Library/tiny:1B", "tiny:1b"}, {"registry.ollama.ai/alice/tiny", "alice/tiny:latest"},
		{"hf.co/a/b:*", "hf.co/a/b:q4"}, {"https://registry.ollama.ai/library/tiny", "tiny:latest"}, {"https:///a/b", "a/b:latest"}, {"a//b", "x"}, {"/b", "b"}, {"b/", "b"}, {"b:", "b"}, {":b", "b"}, {"a/:b", "b"}, {"a:b/c", "c"}, {"a:b:c", "a:b:c"},
		{"a/b/c/d", "a/b/c/d:latest"}, {"library/b/c/d", "x"}, {"library", "library:latest"}, {"library/*", "tiny"}, {"*/tiny", "alice/tiny:latest"}, {"registry.ollama.ai/*", "x/y"}, {"**a*b**", "aab"}, {"*", ""}, {"a*:", "a:"}, {"a/*", "a/b:c"}, {"/", "a"}, {"::", "a"}, {"*:local", "a"},
	} {
		f.Add(row[0], row[1])
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if !isGlob([]byte(pattern)) || len(name) > maxModelName {
			return
		}
		g := glob(pattern)
		if got, want := string(g.appendCanonical(nil)), canonicalPattern(pattern); got != want {
			t.Errorf("%q is %q, not %q", pattern, got, want)
		}
		if strings.Count(pattern, "*") < 4 && len(name) < 100 {
			if got, want := g.matches(name), globMatches(canonicalPattern(pattern), name); got != want {
				t.Errorf("%q matches %q: %t", pattern, name, got)
			}
		}
		canonical, ok := CanonicalModel(pattern)
		if ok && !strings.HasSuffix(strings.ToLower(pattern), ":local") && !g.matches(canonical) {
			t.Errorf("%q does not match itself, %q", pattern, canonical)
		}
	})
}
