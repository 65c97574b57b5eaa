//go:build unix

package kit

import (
	"os"
	"strconv"
)

// Dir is the directory of the program's files, which also holds the built
// ollama-proxy. The program sets it from its arguments before anything else.
var Dir string

// ReadFile returns a file's content.
func ReadFile(path string) string {
	text, err := os.ReadFile(path)
	Must(err, "reading")
	return string(text)
}

// WriteFile replaces a file's content. A new file can be read by its owner alone.
func WriteFile(path, text string) { Must(os.WriteFile(path, []byte(text), 0o600), "writing") }

// Atoi parses a decimal number, such as one in a file of /proc.
func Atoi(s string) int {
	n, err := strconv.Atoi(s)
	Must(err, "a number")
	return n
}
