package signer

import (
	"strings"
)

const (
	// maxModelName bounds a pattern, in bytes. It is larger than the longest name that
	// Ollama accepts without a scheme: 80 bytes each for tag, model and namespace, 350
	// for the host.
	maxModelName = 600

	defaultHost      = "registry.ollama.ai"
	defaultNamespace = "library"
	defaultTag       = "latest"

	maxHostPart = 350
	maxNamePart = 80
)

// CanonicalModel returns the canonical spelling of a name where Ollama runs, shows,
// pulls or deletes the model. All spellings by which Ollama knows the same model have
// the same canonical one: "TINY", "library/tiny", "https:///library/tiny:latest" and
// "tiny:local" have "tiny:latest"; "tiny:8b:cloud" has "tiny:8b-cloud". Spaces around
// the name are ignored.
//
// If Ollama would not accept the name, ok is false. A caller that checks names must then
// refuse it: what one version of Ollama refuses, another may accept.
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

// CanonicalName returns the canonical spelling of a name where Ollama reads it as that
// of a model in its store: when it copies, pushes or creates a model, and in its lists.
// There ":local" and ":cloud" are ordinary tags, and a space makes the name invalid. If
// Ollama would not accept the name, ok is false.
func CanonicalName(name string) (canonical string, ok bool) {
	host, namespace, model, tag, whole := cutModel(name)
	if !whole || !isNamePart(model, maxNamePart, ".") || !isNamePart(tag, maxNamePart, ".") ||
		!isNamePart(namespace, maxNamePart, "") || !isNamePart(host, maxHostPart, ".:") {
		return "", false
	}
	return joinModel(host, namespace, model, tag), true
}

// IsCloudModel reports whether any version of Ollama would send a request for the model
// to ollama.com, on the account of the host's owner.
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

// SaysWhere reports whether the name ends in where its model is to run: ":local",
// ":cloud" or "-cloud". Then CanonicalModel and CanonicalName may differ.
func SaysWhere(name string) bool {
	_, source := cutSource(strings.TrimSpace(name))
	return source != ""
}

// cutSource splits a name into the model and where it is to run: "local", "cloud", or ""
// if the name does not say.
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

// hasTag reports whether a name has a tag. The colon before a host's port does not begin
// one.
func hasTag(name string) bool {
	return strings.LastIndexByte(name, ':') > strings.LastIndexByte(name, '/')
}

// canonicalPattern returns the canonical spelling of a pattern, as far as its stars
// allow.
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

// cutModel splits [[[scheme "://"] host "/"] namespace "/"] model [":" tag] from its
// end, as Ollama does, and fills in the defaults. The scheme may be anything, and the
// host after it may be empty. If another part is empty although its separator is there,
// ok is false.
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

// joinModel returns the canonical spelling of the parts.
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

// isNamePart reports whether Ollama accepts the part: ASCII letters, digits and
// underscores, and after the first byte also dashes and the characters in also; at most
// limit bytes.
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

// cutLast is strings.Cut at the last separator. Without a separator, before is s.
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
