package signer

import (
	"strings"
	"unicode/utf8"
)

const (
	// maxModelName is far above what Ollama takes: 80 bytes for each of tag,
	// model and namespace, 350 for the host.
	maxModelName = 600

	defaultHost      = "registry.ollama.ai"
	defaultNamespace = "library"
	defaultTag       = "latest"
)

// CanonicalModel gives the one spelling that stands for all those by which
// Ollama knows the same model: "TINY", "library/tiny" and
// "https://registry.ollama.ai/library/tiny:latest" are all "tiny:latest". If
// name can be no model's name, ok is false; Ollama would refuse it, and so
// must whoever checks it.
func CanonicalModel(name string) (canonical string, ok bool) {
	name = strings.TrimSpace(name)
	if name == "" || len(name) > maxModelName {
		return "", false
	}
	if bare, suffix, found := cutLast(name, ":"); found && strings.EqualFold(strings.TrimSpace(suffix), "local") {
		name = bare
	}
	host, namespace, model, tag, ok := cutModel(name)
	if !ok || !isNamePart(model, false) || !isNamePart(tag, false) || !isNamePart(namespace, false) || !isNamePart(host, true) {
		return "", false
	}
	return joinModel(host, namespace, model, tag), true
}

// IsCloudModel reports whether Ollama would send a request for the model to
// ollama.com, on the account of the host's owner. It answers yes also where
// only some versions of Ollama would.
func IsCloudModel(name string) bool {
	name = strings.ToLower(strings.TrimSpace(name))
	for {
		bare, suffix, found := cutLast(name, ":")
		suffix = strings.TrimSpace(suffix)
		if found && suffix == "local" {
			name = strings.TrimSpace(bare)
			continue
		}
		return found && suffix == "cloud" || strings.HasSuffix(name, "-cloud")
	}
}

// canonicalPattern does to a pattern what CanonicalModel does to a name, as
// far as its stars allow.
func canonicalPattern(pattern string) string {
	host, namespace, model, tag, ok := cutModel(pattern)
	if !ok {
		return strings.ToLower(pattern)
	}
	if !strings.Contains(pattern[strings.LastIndexByte(pattern, '/')+1:], ":") && strings.HasSuffix(pattern, "*") {
		canonical := joinModel(host, namespace, model, defaultTag)
		return strings.TrimSuffix(canonical, ":"+defaultTag)
	}
	return joinModel(host, namespace, model, tag)
}

// cutModel takes [[scheme "://"] host "/"] [namespace "/"] model [":" tag]
// apart from its end, as Ollama does, and fills in what is left out.
func cutModel(name string) (host, namespace, model, tag string, ok bool) {
	host, namespace, tag = defaultHost, defaultNamespace, defaultTag
	if strings.LastIndexByte(name, ':') > strings.LastIndexByte(name, '/') {
		name, tag, _ = cutLast(name, ":")
	}
	rest, model, found := cutLast(name, "/")
	if !found {
		return host, namespace, name, tag, name != "" && tag != ""
	}
	if rest, last, found := cutLast(rest, "/"); found {
		namespace, host = last, rest
		if _, after, hasScheme := strings.Cut(rest, "://"); hasScheme {
			host = after
		}
	} else {
		namespace = rest
	}
	return host, namespace, model, tag, host != "" && namespace != "" && model != "" && tag != ""
}

func joinModel(host, namespace, model, tag string) string {
	name := strings.ToLower(model + ":" + tag)
	host, namespace = strings.ToLower(host), strings.ToLower(namespace)
	switch {
	case host != defaultHost:
		return host + "/" + namespace + "/" + name
	case namespace != defaultNamespace:
		return namespace + "/" + name
	}
	return name
}

// isNamePart allows the characters that Ollama does; only a host has a colon,
// before its port.
func isNamePart(part string, colon bool) bool {
	for i := range len(part) {
		switch c := part[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_':
		case i > 0 && (c == '-' || c == '.' || colon && c == ':'):
		default:
			return false
		}
	}
	return part != ""
}

// unfitForModel allows a pattern the characters of a name, and "*".
func unfitForModel(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return false
	case r >= utf8.RuneSelf:
		return true
	}
	return !strings.ContainsRune("_-.:/*", r)
}

// cutLast is strings.Cut at the last separator. Without one, all of s comes
// before it.
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
