//go:build unix

package kit

import (
	"path/filepath"
	"regexp"
)

// HAProxyConfig writes haproxy.cfg into [Dir] and returns its path: the file of
// deploy/haproxy with the given server lines instead of its server-template, with
// a maxconn of 500, and with each change made, which is a regular expression and
// the text to put there instead. What is to be replaced must stand there exactly
// once.
func HAProxyConfig(servers string, changes ...[2]string) string {
	config := ReadFile("deploy/haproxy/haproxy.cfg")
	for _, change := range append(changes,
		[2]string{`maxconn \d+`, `maxconn 500`}, // what open files allow on any machine
		[2]string{` +server-template .*\n`, servers},
	) {
		old := regexp.MustCompile(change[0])
		if n := len(old.FindAllString(config, -1)); n != 1 {
			Fatal("haproxy.cfg has %q %d times", change[0], n)
		}
		config = old.ReplaceAllLiteralString(config, change[1])
	}
	file := filepath.Join(Dir, "haproxy.cfg")
	WriteFile(file, config)
	return file
}
