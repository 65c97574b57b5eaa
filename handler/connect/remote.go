package connect

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"

	"github.com/ollama-proxy/ollama-proxy/handler/api"
	"github.com/ollama-proxy/ollama-proxy/handler/local"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// KeyVariable is the environment variable that may hold the key. No flag does: everyone on
// the machine can read a command line.
const KeyVariable = "OLLAMA_PROXY_KEY"

// maxKeyFile bounds a key file: 4 KiB, twice the longest key.
const maxKeyFile = 4 << 10

// ParseRemote reads the URL of a remote ollama-proxy. It may have a path, if the proxy is
// mounted below one; a slash at its end makes no difference. People paste the URL that
// other programs take: a final /v1, or the path of a route such as /v1/chat/completions,
// is cut off and returned in cut.
//
//   - If it is not an http or https URL with a host, or has a user, a query or a
//     fragment, or dots or empty segments in its path, ParseRemote returns an error. The
//     error does not show the text, which might hold a password.
//   - If it is plain http, the host is not loopback and insecure is not set, that is an
//     error, too: the key would travel in the clear.
func ParseRemote(text string, insecure bool) (u *url.URL, cut string, err error) {
	text = strings.TrimRight(strings.TrimSpace(text), "/")
	u, err = url.Parse(text)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "", !isPort(u.Port()):
		return nil, "", errors.New("not the URL of an ollama-proxy; write it like https://proxy.example")
	case u.User != nil:
		return nil, "", errors.New("the URL must not hold a user or a password: the key comes from a file or from " + KeyVariable)
	case strings.ContainsAny(text, "?#"):
		return nil, "", errors.New("the URL must end with its path: no ? and no #")
	case u.Path != "" && path.Clean(u.Path) != u.Path:
		return nil, "", errors.New("the path of the URL must have no dots and no empty segments")
	case u.Scheme == "http" && !insecure && !local.IsLoopback(u.Hostname()):
		return nil, "", fmt.Errorf("plain http would show the key to everyone on the way to %s: use https, or --insecure if the way is safe", u.Host)
	}
	u.Host = strings.TrimSuffix(u.Host, ":")
	if u.RawPath == "" {
		cut = routeAtEnd(u.Path)
		u.Path = strings.TrimSuffix(u.Path, cut)
	}
	return u, cut, nil
}

// routeAtEnd returns the longest end of the path that is /v1 or the path of a route, or
// "" if there is none.
func routeAtEnd(path string) (longest string) {
	for _, name := range append(api.RouteNames(), "/v1") {
		if len(name) > max(len("/"), len(longest)) && name[0] == '/' && strings.HasSuffix(path, name) {
			longest = name
		}
	}
	return longest
}

// isPort reports whether the text is a port, or empty: then the scheme's own is meant.
func isPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0
}

var errNoKeyShape = errors.New("that is no key: a key looks like OLLAMA-<uuid>.<tag>")

func hasKeyShape(text string) bool {
	_, err := signer.Inspect(text)
	return err == nil
}

// ReadKey reads a key from the file at path, or from stdin if path is "-", or, if path is
// empty, from [KeyVariable]. Of stdin it takes a line, so that a key can be typed.
// Exposed is set if others than the owner may read the file, which deserves a warning; on
// Windows that is not known, and exposed is false.
//
// A byte order mark, white space and a pair of quotes around the key are taken off.
// If both are given, or neither, or what is there is not one line with the
// shape of a key, ReadKey returns an error, which never shows the key. Whether
// the key is genuine only the remote can tell.
func ReadKey(path string, stdin io.Reader) (key string, exposed bool, err error) {
	key = bareKey(os.Getenv(KeyVariable))
	switch {
	case path != "" && key != "":
		return "", false, fmt.Errorf("a key file and %s are both set: which of the two?", KeyVariable)
	case path == "-":
		line, err := bufio.NewReader(io.LimitReader(stdin, maxKeyFile)).ReadString('\n')
		if err != nil && err != io.EOF {
			return "", false, fmt.Errorf("standard input: %w", err)
		}
		if key = bareKey(line); !hasKeyShape(key) {
			return "", false, fmt.Errorf("standard input: %w", errNoKeyShape)
		}
		return key, false, nil
	case path != "":
		key, exposed, err = readKeyFile(path)
		if err != nil {
			return "", false, fmt.Errorf("key file: %w", err)
		}
		return key, exposed, nil
	case key == "":
		return "", false, fmt.Errorf("no key: name a file with --key-file, or set %s", KeyVariable)
	case !hasKeyShape(key):
		return "", false, fmt.Errorf("%s: %w", KeyVariable, errNoKeyShape)
	}
	return key, false, nil
}

// bareKey takes off a text what editors and shells leave around a key: a byte order
// mark, white space and a pair of quotes. None of them is ever part of one.
func bareKey(text string) string {
	text = strings.TrimSpace(strings.TrimPrefix(text, "\ufeff"))
	if n := len(text); n >= 2 && text[0] == text[n-1] && (text[0] == '"' || text[0] == '\'') {
		text = strings.TrimSpace(text[1 : n-1])
	}
	return text
}

func readKeyFile(path string) (key string, exposed bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", false, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return "", false, err
	}
	key = bareKey(string(data))
	switch {
	case len(data) > maxKeyFile:
		return "", false, fmt.Errorf("%s has more than %d bytes", path, maxKeyFile)
	case key == "":
		return "", false, fmt.Errorf("%s is empty", path)
	case strings.ContainsAny(key, "\r\n"):
		return "", false, fmt.Errorf("%s has more than one line", path)
	case !hasKeyShape(key):
		return "", false, fmt.Errorf("%s: %w", path, errNoKeyShape)
	}
	// On Windows access lists say who may read a file, and Go invents these bits.
	return key, info.Mode().IsRegular() && info.Mode().Perm()&0o004 != 0 && runtime.GOOS != "windows", nil
}
