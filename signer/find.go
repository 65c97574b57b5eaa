package signer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// SecretVariable names the environment variable that may hold the secret
// itself. No flag does: a command line can be read by everyone on the machine.
const SecretVariable = "OLLAMA_PROXY_SECRET"

// ErrNoSecret means that no secret was given, and none has been made yet.
var ErrNoSecret = errors.New("no secret: name a file with --secret-file, set " + SecretVariable + ", or let `ollama-proxy serve` make one")

// Found is where secrets were found, and which.
type Found struct {
	Secrets []Secret
	Path    string // "" when they came from the environment
	Exposed bool   // others than the owner may read the file
	Default bool   // the file is the one that MakeDefaultSecret makes
}

// FindSecrets looks for secrets: in the file at path if there is a path, else in the
// environment, else in the file that [MakeDefaultSecret] makes. If there are
// two of the first, it refuses to choose. If there is none at all, it returns
// ErrNoSecret.
func FindSecrets(path string) (found Found, err error) {
	text := os.Getenv(SecretVariable) // an empty variable is an unset one
	set := text != ""
	switch {
	case path != "" && set:
		return Found{}, errors.New("a secret file and " + SecretVariable + " are both set: which of the two?")
	case set:
		s, err := ParseSecret(text)
		if err != nil {
			return Found{}, fmt.Errorf("%s: %w", SecretVariable, err)
		}
		return Found{Secrets: []Secret{s}}, nil
	case path == "":
		found.Default = true
		if path, err = defaultSecretFile(); err != nil {
			return Found{}, ErrNoSecret
		}
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			return Found{}, ErrNoSecret
		}
	}
	found.Path = path
	found.Secrets, found.Exposed, err = ReadSecrets(path)
	if errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("%w: `ollama-proxy secret --out %s` makes one", err, path)
	}
	return found, err
}

// NoAdmin stands in place of the path of a file with the secrets of ADMIN keys: no ADMIN
// key is good.
const NoAdmin = "none"

// FindAdminSecrets reads the secrets under which ADMIN keys alone are minted from the
// file at path, see [ReadSecrets]. If the path is [NoAdmin], there are none.
func FindAdminSecrets(path string) (found Found, err error) {
	if path == NoAdmin {
		return Found{}, nil
	}
	found.Path = path
	found.Secrets, found.Exposed, err = ReadSecrets(path)
	if err != nil {
		err = fmt.Errorf("for ADMIN keys: %w", err)
	}
	return found, err
}

// Revocations is where the list of revoked keys is kept: at the location, if
// one is named. Otherwise it is beside the secret that [MakeDefaultSecret]
// makes, so that who names nothing can revoke; with secrets of any other kind
// it is "", no list.
func (f Found) Revocations(location string) string {
	if location == "" && f.Default {
		return filepath.Join(filepath.Dir(f.Path), "revocations")
	}
	return location
}

// reload reads the secrets again from the file they came from, and reports
// whether there are others now. If they cannot be read, or one is among the others, it
// keeps those that it has and returns an error.
func (f *Found) reload(others []Secret) (changed bool, err error) {
	secrets, _, err := ReadSecrets(f.Path)
	if err != nil || slices.EqualFunc(secrets, f.Secrets, Secret.Equal) {
		return false, err
	}
	if err := disjoint(secrets, others); err != nil {
		return false, fmt.Errorf("secret file %s: %w", f.Path, err)
	}
	f.Secrets = secrets
	return true, nil
}

// disjoint returns an error if a secret is on both sides.
func disjoint(some, others []Secret) error {
	for _, s := range some {
		if slices.ContainsFunc(others, s.Equal) {
			return errors.New("a secret of ADMIN keys makes other keys, too: take it out of one of the two files")
		}
	}
	return nil
}

// MakeDefaultSecret makes a secret file where FindSecrets will find it: under
// the user's configuration directory, readable by the user only.
func MakeDefaultSecret() (Found, error) {
	path, err := defaultSecretFile()
	if err != nil {
		return Found{}, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return Found{}, err
	}
	s, err := CreateSecretFile(path)
	return Found{Secrets: []Secret{s}, Path: path, Default: true}, err
}

func defaultSecretFile() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("no place for a secret file: %w", err)
	}
	return filepath.Join(dir, "ollama-proxy", "secret"), nil
}
