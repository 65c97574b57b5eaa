//go:build linux

package main

import (
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

// narrowing is the four caveats of narrowed keys. They allow all that is asked.
var narrowing = []string{"--label", "alice", "--expires-in", "720h", "--models", "small,large,full,paced", "--rpm", "1000000000"}

// makeKeys makes them with ollama-proxy itself. Narrowed says the same of keys
// with four caveats, of the same secret.
func makeKeys(program, dir string) (plain, narrowed *keyring, err error) {
	file := filepath.Join(dir, "secret")
	if _, err := output(program, "secret", "--out", file); err != nil {
		return nil, nil, err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, err
	}
	secret := ""
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			secret = line
		}
	}
	mint := func(caveats ...string) (*keyring, error) {
		out, err := output(program, append([]string{"mint", "--secret-file", file, "--count", fmt.Sprint(2 * listed)}, caveats...)...)
		if err != nil {
			return nil, err
		}
		keys := strings.Fields(out)
		if len(keys) != 2*listed {
			return nil, fmt.Errorf("%d keys, not %d", len(keys), 2*listed)
		}
		k := &keyring{Secret: secret, Keys: keys[:listed], revoked: keys[listed]}
		for _, key := range keys[listed:] {
			id := strings.TrimPrefix(key, "OLLAMA-")
			k.Revoked = append(k.Revoked, id[:strings.IndexAny(id, "~.")])
		}
		return k, nil
	}
	if plain, err = mint(); err != nil {
		return nil, nil, err
	}
	narrowed, err = mint(narrowing...)
	return plain, narrowed, err
}

func output(program string, args ...string) (string, error) {
	out, err := exec.Command(program, args...).Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", program, args[0], err)
	}
	return string(out), nil
}
