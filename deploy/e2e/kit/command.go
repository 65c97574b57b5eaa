//go:build unix

package kit

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Command runs ollama-proxy with the arguments, for at most [Timeout], and returns its
// standard output without surrounding white space. If it does not exit with status 0, the
// program ends by [Fatal] with its standard error.
func Command(args ...string) string {
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	c := exec.CommandContext(ctx, filepath.Join(Dir, "ollama-proxy"), args...)
	var talk bytes.Buffer
	c.Env, c.Stderr = Environment(), &talk
	out, err := c.Output()
	Must(err, "ollama-proxy %s: %s", args[0], talk.String())
	return strings.TrimSpace(string(out))
}

// Environment returns this process's environment without the variables that would
// set flags of ollama-proxy.
func Environment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "OLLAMA_") })
}
