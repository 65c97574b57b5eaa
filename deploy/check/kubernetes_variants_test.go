package check

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const readme = "../kubernetes/README.md"

// testVariants renders what users make of our parts: without those that they do
// not need, and with each change that the README shows.
func testVariants(t *testing.T, variables []string) {
	ollamaElsewhere := ""
	for title, fragment := range readmeChanges(t) {
		if strings.Contains(title, "Ollama elsewhere") {
			ollamaElsewhere = fragment
		}
		t.Run(title, func(t *testing.T) {
			plain := renderYours(t, []string{"ollama", "monitoring"}, "")
			changed := renderYours(t, []string{"ollama", "monitoring"}, fragment)
			if slices.EqualFunc(plain, changed, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) }) {
				t.Errorf("it changes nothing:\n%s", fragment)
			}
			if problems := changed.check(variables); len(problems) > 0 {
				t.Errorf("with it:%s", join(problems))
			}
		})
	}
	for _, components := range [][]string{nil, {"monitoring"}, {"ollama"}} {
		t.Run(fmt.Sprint(components), func(t *testing.T) {
			fragment := ollamaElsewhere
			if slices.Contains(components, "ollama") {
				fragment = ""
			}
			if problems := renderYours(t, components, fragment).check(variables); len(problems) > 0 {
				t.Error(join(problems))
			}
		})
	}
}

// readmeChanges are the pieces of a kustomization.yaml in the README, each by
// the line before it.
func readmeChanges(t *testing.T) map[string]string {
	t.Helper()
	changes := map[string]string{}
	text := readText(t, readme)
	for _, match := range regexp.MustCompile("(?s)([^\n]+)\n\n```yaml\n(.*?)```").FindAllStringSubmatch(text, -1) {
		changes[match[1]] = match[2]
	}
	if n := strings.Count(text, "```yaml"); len(changes) != n || n == 0 {
		t.Errorf("found %d of the %d changes in the README", len(changes), n)
	}
	return changes
}

// renderYours renders a kustomization in a directory elsewhere, as users keep
// one, with a list of revoked keys of its own.
func renderYours(t *testing.T, components []string, fragment string) manifests {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ours, err := filepath.Abs("../kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	if ours, err = filepath.Rel(dir, ours); err != nil {
		t.Fatal(err)
	}
	text := "namespace: ollama-proxy\nresources:\n  - " + filepath.Join(ours, "proxy") + "\ncomponents:\n"
	for _, component := range components {
		text += "  - " + filepath.Join(ours, component) + "\n"
	}
	text += "configMapGenerator:\n  - name: ollama-proxy-revocations\n    files: [revocations]\n    options: {disableNameSuffixHash: true}\n"
	write(t, filepath.Join(dir, "revocations"), "0199c3a1-8f60-7d4e-9c55-2b1f3a8e7d60 laptop lost\n")
	write(t, filepath.Join(dir, "kustomization.yaml"), text+fragment)
	return renderKustomization(t, dir)
}

func readText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
