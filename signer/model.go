package signer

import (
	"strings"
)

const (
	// maxModelName bounds a pattern of names. It is above what Ollama takes
	// for a name without a scheme: 80 bytes for each of tag, model and
	// namespace, 350 for the host.
	maxModelName = 600

	defaultHost      = "registry.ollama.ai"
	defaultNamespace = "library"
	defaultTag       = "latest"

	maxHostPart = 350
	maxNamePart = 80
)

// CanonicalModel gives the one spelling of all those by which Ollama knows the
// same model where it runs, shows, pulls or deletes it: "TINY", "library/tiny",
// "https:///library/tiny:latest" and "tiny:local" are all "tiny:latest";
// "tiny:8b:cloud" is "tiny:8b-cloud". Space around the name does not count.
//
// If Ollama would not take name for a model's, ok is false. Whoever checks names
// must refuse it then: what one version refuses, another may read.
func CanonicalModel(name string) (canonical string, ok bool) {
	base, source := cutSource(strings.TrimSpace(name))
	if _, second := cutSource(base); source != "" && second != "" {
		return "", false
	}
	canonical, ok = CanonicalName(base)
	if !ok || source != "cloud" {
		return canonical, ok
	}
	if hasTag(base) {
		return canonical + "-cloud", true
	}
	return strings.TrimSuffix(canonical, defaultTag) + "cloud", true
}

// CanonicalName is CanonicalModel for where Ollama reads a name as that of a
// model in its store: when it copies, pushes or creates one, and in its lists.
// There ":local" and ":cloud" are tags like any other, and space is part of the
// name, which makes it none.
func CanonicalName(name string) (canonical string, ok bool) {
	host, namespace, model, tag, whole := cutModel(name)
	if !whole || !isNamePart(model, maxNamePart, ".") || !isNamePart(tag, maxNamePart, ".") ||
		!isNamePart(namespace, maxNamePart, "") || !isNamePart(host, maxHostPart, ".:") {
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

// SaysWhere reports whether the name says at its end where its model is to run:
// here, or at ollama.com. Then CanonicalModel and CanonicalName differ over it.
func SaysWhere(name string) bool {
	_, source := cutSource(strings.TrimSpace(name))
	return source != ""
}

// cutSource takes off the end of a name what says where its model is to run:
// source is "local", "cloud", or "" where nothing says so.
func cutSource(name string) (base, source string) {
	base, suffix, found := cutLast(name, ":")
	suffix = strings.TrimSpace(suffix)
	tag, isCloud := cutSuffixFold(suffix, "-cloud")
	switch {
	case found && strings.EqualFold(suffix, "local"):
		return base, "local"
	case found && strings.EqualFold(suffix, "cloud"):
		return base, "cloud"
	case found && isCloud && !strings.Contains(suffix, "/"):
		return base + ":" + tag, "cloud"
	}
	return name, ""
}

// cutSuffixFold is strings.CutSuffix for a suffix in ASCII, in any letter case.
func cutSuffixFold(s, suffix string) (before string, found bool) {
	at := len(s) - len(suffix)
	if at < 0 || !strings.EqualFold(s[at:], suffix) {
		return s, false
	}
	return s[:at], true
}

// hasTag reports whether a name says its tag. The colon of a host's port is
// none.
func hasTag(name string) bool {
	return strings.LastIndexByte(name, ':') > strings.LastIndexByte(name, '/')
}

// canonicalPattern does to a pattern what CanonicalName does to a name, as
// far as its stars allow.
func canonicalPattern(pattern string) string {
	host, namespace, model, tag, ok := cutModel(pattern)
	if !ok {
		return strings.ToLower(pattern)
	}
	if !hasTag(pattern) && strings.HasSuffix(pattern, "*") {
		canonical := joinModel(host, namespace, model, defaultTag)
		return strings.TrimSuffix(canonical, ":"+defaultTag)
	}
	return joinModel(host, namespace, model, tag)
}

// cutModel takes [[[scheme "://"] host "/"] namespace "/"] model [":" tag]
// apart from its end, as Ollama does, and fills in what is left out. A scheme
// may be anything, and the host behind it may be empty. If another part is empty
// on either side of its separator, ok is false.
func cutModel(name string) (host, namespace, model, tag string, ok bool) {
	host, namespace, tag, ok = defaultHost, defaultNamespace, defaultTag, true
	if hasTag(name) {
		name, tag, _ = cutLast(name, ":")
		ok = name != "" && tag != ""
	}
	rest, model, found := cutLast(name, "/")
	if !found {
		return host, namespace, name, tag, ok && name != ""
	}
	ok = ok && rest != "" && model != ""
	rest, last, found := cutLast(rest, "/")
	if !found {
		return host, rest, model, tag, ok
	}
	ok = ok && rest != "" && last != ""
	namespace = last
	if _, after, hasScheme := strings.Cut(rest, "://"); hasScheme {
		rest = after
	}
	if rest != "" {
		host = rest
	}
	return host, namespace, model, tag, ok
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

// isNamePart reports whether Ollama takes the part: letters and digits of ASCII,
// underscores, and after the first byte dashes and what also holds.
func isNamePart(part string, limit int, also string) bool {
	for i := range len(part) {
		switch c := part[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_':
		case i > 0 && (c == '-' || strings.IndexByte(also, c) >= 0):
		default:
			return false
		}
	}
	return part != "" && len(part) <= limit
}

// cutLast is strings.Cut at the last separator. Without one, all of s comes
// before it.
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
