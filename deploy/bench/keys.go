//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// keyring is the keys that all peers know: as a list those who know no better,
// and as a secret and a list of the revoked those who verify.
type keyring struct {
	Secret  string
	Keys    []string
	Revoked []string // ids
	revoked string   // a key
}

const listed = 1000 // keys, and as many revoked ones

// makeKeys makes them with ollama-proxy itself.
func makeKeys(program, dir string) (*keyring, error) {
	file := filepath.Join(dir, "secret")
	for _, args := range [][]string{{"secret", "--out", file}, {"mint", "--secret-file", file, "--count", fmt.Sprint(2 * listed)}} {
		out, err := exec.Command(program, args...).Output()
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", program, args[0], err)
		}
		if args[0] != "mint" {
			continue
		}
		secret, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		keys := strings.Fields(string(out))
		k := &keyring{Keys: keys[:listed], revoked: keys[listed]}
		for line := range strings.Lines(string(secret)) {
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
				k.Secret = line
			}
		}
		for _, key := range keys[listed:] {
			id, _, _ := strings.Cut(strings.TrimPrefix(key, "OLLAMA-"), ".")
			k.Revoked = append(k.Revoked, id)
		}
		return k, nil
	}
	return nil, errors.New("no keys")
}
