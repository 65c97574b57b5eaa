//go:build unix

package kit

import (
	"path/filepath"
	"regexp"
)

// HAProxyConfig writes haproxy.cfg into [Dir] and returns its path. The file is that of
// deploy/haproxy with the given server lines in place of its server-template, with a maxconn
// of 500, and with the changes. A change is a regular expression, which must match exactly
// once, and the text that replaces the match.
func HAProxyConfig(servers string, changes ...[2]string) string {
	config := ReadFile("deploy/haproxy/haproxy.cfg")
	for _, change := range append(changes,
		[2]string{`maxconn \d+`, `maxconn 500`}, // few enough for the limit on open files of any machine
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
