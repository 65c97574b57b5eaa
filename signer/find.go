package signer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
)

// SecretVariable names the environment variable that may hold the secret
// itself. No flag does: a command line can be read by everyone on the machine.
const SecretVariable = "OLLAMA_PROXY_SECRET"

// ErrNoSecret means that no secret was given, and none has been made yet.
var ErrNoSecret = errors.New("no secret: name a file with --secret-file, set " + SecretVariable + ", or let `ollama-proxy serve` make one")

// SystemSecretFile is where this machine's secret is kept. Where there is a file that
// can be read, it comes before the user's own. It is "" on Windows, where anybody may
// make such a file. It is a variable for tests only, which must not find it.
var SystemSecretFile = systemSecretFile()

func systemSecretFile() string {
	if runtime.GOOS == "windows" {
		return ""
	}
	return "/etc/ollama-proxy/secret"
}

// Found is where secrets were found, and which.
type Found struct {
	Secrets []Secret
	Path    string // "" when they came from the environment
	Exposed bool   // others than the owner may read the file
	Default bool   // nobody named the file: it is SystemSecretFile, or the one that MakeDefaultSecret makes
	Denied  bool   // there is a SystemSecretFile, and we may not read it
}

// FindSecrets looks for secrets: in the file at path if there is a path, else in the
// environment, else in [SystemSecretFile] if there is one that can be read, else in
// the file that [MakeDefaultSecret] makes.
//
//   - If there are two of the first, it refuses to choose.
//   - If there is none at all, it returns ErrNoSecret; Denied may be set all the same.
//   - If a file is there that holds no secrets, it says so, and looks no further.
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
		if path, found.Denied, err = findDefault(); err != nil {
			return found, err
		}
	}
	found.Path = path
	found.Secrets, found.Exposed, err = ReadSecrets(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: `ollama-proxy secret --out %s` makes one", err, path)
	}
	if errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w: it belongs to another user; be that one, perhaps with sudo", err)
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

// findDefault gives the file with secrets that nobody has named, and reports whether
// it passed over this machine's because it may not read it.
func findDefault() (path string, denied bool, err error) {
	if SystemSecretFile != "" {
		f, err := os.Open(SystemSecretFile)
		switch {
		case err == nil:
			f.Close()
			return SystemSecretFile, false, nil
		case errors.Is(err, fs.ErrPermission):
			denied = true
		case !errors.Is(err, fs.ErrNotExist):
			return "", false, fmt.Errorf("secret file: %w", err)
		}
	}
	if path, err = defaultSecretFile(); err != nil {
		return "", denied, ErrNoSecret
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "", denied, ErrNoSecret
	}
	return path, denied, nil
}

// Revocations is where the list of revoked keys is kept: at the location, if
// one is named. Otherwise it is beside the secret that nobody had to name, so
// that who names nothing can revoke; with secrets of any other kind it is "", no
// list.
func (f Found) Revocations(location string) string {
	if location == "" && f.Default && f.Path != "" {
		return filepath.Join(filepath.Dir(f.Path), "revocations")
	}
	return location
}

// Ledger is where keys are noted that the secrets make: at the path, if one is named;
// otherwise beside the secret file, as minted. If the path is "none", or the secrets
// came from the environment, it is "", nowhere.
func (f Found) Ledger(path string) string {
	switch {
	case path == "none":
		return ""
	case path != "" || f.Path == "":
		return path
	}
	beside := filepath.Join(filepath.Dir(f.Path), "minted")
	if beside == filepath.Clean(f.Path) {
		return ""
	}
	return beside
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
