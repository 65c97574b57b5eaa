package check

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// What deploy/kubernetes renders is decoded as strictly as an API server would,
// held against Pod Security, against itself, and against the proxy's own flags.
func TestKubernetes(t *testing.T) {
	binary := proxyBinary(t)
	variables := serveVariables(t, binary)
	shipped := renderKustomization(t, "../kubernetes")
	if problems := shipped.check(variables); len(problems) > 0 {
		t.Errorf("deploy/kubernetes:%s", join(problems))
	}
	t.Run("mutations", func(t *testing.T) { testMutations(t, shipped, variables) })
	t.Run("variants", func(t *testing.T) { testVariants(t, variables) })
	t.Run("readme", func(t *testing.T) { testCommands(t, binary, shipped, variables) })
}

// proxyBinary builds the proxy that lies two directories above.
func proxyBinary(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "ollama-proxy")
	build := exec.Command("go", "build", "-C", "../..", "-buildvcs=false", "-o", binary, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build, err, out)
	}
	return binary
}

// serveVariables are those that serve reads, as its help names them.
func serveVariables(t *testing.T, binary string) (names []string) {
	t.Helper()
	help, err := exec.Command(binary, "serve", "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range regexp.MustCompile(`\$(OLLAMA_PROXY_[A-Z_]+)`).FindAllSubmatch(help, -1) {
		names = append(names, string(match[1]))
	}
	if !slices.Contains(names, "OLLAMA_PROXY_LISTEN") {
		t.Fatalf("found no variables in:\n%s", help)
	}
	return names
}

// write makes a file in a directory of the test's.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
