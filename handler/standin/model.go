package standin

import (
	"cmp"
	"strings"
)

const (
	defaultHost      = "registry.ollama.ai"
	defaultNamespace = "library"
	defaultTag       = "latest"
)

// Canonical returns the canonical spelling of a model's name, as Ollama reads it where it runs, shows, pulls or deletes
// a model: in lower case, without surrounding space, without the default registry and namespace, with a tag, and without
// ":local", which only says where to run it. So "TINY", " tiny\n", "library/tiny", "https:///library/tiny" and
// "tiny:local" are all "tiny:latest". What selects a model at ollama.com stays: "tiny:cloud", and "tiny:8b-cloud", which
// is also the spelling of "tiny:8b:cloud". If Ollama would not accept the name, Canonical returns "".
func Canonical(model string) string {
	base, source := cutSource(strings.TrimSpace(model))
	if _, second := cutSource(base); source != "" && second != "" {
		return ""
	}
	name := Stored(base)
	switch tagged := strings.LastIndex(base, ":") > strings.LastIndex(base, "/"); {
	case name == "" || source != "cloud":
		return name
	case tagged:
		return name + "-cloud"
	}
	return strings.TrimSuffix(name, defaultTag) + "cloud"
}

// Stored returns the canonical spelling of a model's name, as Ollama reads it where it copies, pushes or creates a
// model: unlike in Canonical, ":local" and ":cloud" are ordinary tags, and surrounding space is not allowed.
func Stored(model string) string {
	name := strings.Map(lower, model)
	tag, whole := defaultTag, true
	if i := strings.LastIndex(name, ":"); i > strings.LastIndex(name, "/") {
		name, tag, whole = name[:i], name[i+1:], i > 0
	}
	host, namespace := defaultHost, defaultNamespace
	rest, name, qualified := cutLast(name, "/")
	if qualified {
		var hosted bool
		whole = whole && rest != ""
		if rest, namespace, hosted = cutLast(rest, "/"); hosted {
			whole = whole && rest != ""
			host = rest
			// Any scheme is allowed. Only after a scheme may the host be missing.
			if _, after, ok := strings.Cut(rest, "://"); ok {
				host = cmp.Or(after, defaultHost)
			}
		}
	}
	if !whole || !validPart(host, 350, "-_.:") || !validPart(namespace, 80, "-_") ||
		!validPart(name, 80, "-_.") || !validPart(tag, 80, "-_.") {
		return ""
	}

	name += ":" + tag
	if namespace != defaultNamespace || host != defaultHost {
		name = namespace + "/" + name
	}
	if host != defaultHost {
		name = host + "/" + name
	}
	return name
}

// cutSource cuts off the end of a name that says where the model runs: source is "local", "cloud" or "".
func cutSource(name string) (base, source string) {
	base, suffix, ok := cutLast(name, ":")
	suffix = strings.Map(lower, strings.TrimSpace(suffix))
	if !ok || strings.Contains(suffix, "/") {
		return name, ""
	}
	if suffix == "local" || suffix == "cloud" {
		return base, suffix
	}
	if tag, cloud := strings.CutSuffix(suffix, "-cloud"); cloud {
		return base + ":" + tag, "cloud"
	}
	return name, ""
}

// lower maps ASCII letters only: others are not valid in a name, but some have an ASCII letter as their lower case.
func lower(r rune) rune {
	if 'A' <= r && r <= 'Z' {
		r += 'a' - 'A'
	}
	return r
}

// withoutTag returns a model's canonical name without its tag.
func withoutTag(model string) string {
	name, _, _ := cutLast(Canonical(model), ":")
	return name
}

// cutLast slices s around the last sep; without one, all of s is after it.
func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return "", s, false
	}
	return s[:i], s[i+len(sep):], true
}

// validPart reports whether a part of a name, in lower case, has 1 to limit bytes, all of them letters, digits,
// underscores or, after the first byte, characters in also.
func validPart(part string, limit int, also string) bool {
	if len(part) < 1 || len(part) > limit {
		return false
	}
	for i := range len(part) {
		c := part[i]
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '_':
		case i > 0 && strings.IndexByte(also, c) >= 0:
		default:
			return false
		}
	}
	return true
}
