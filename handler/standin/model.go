package standin

import (
	"cmp"
	"strings"
)

const (
	homeHost      = "registry.ollama.ai"
	homeNamespace = "library"
	defaultTag    = "latest"
)

// Canonical returns the one spelling that stands for all that Ollama takes for the same model where it runs, shows,
// pulls or deletes one: lower case, without surrounding space, the default registry and namespace left out, the tag
// always there, and ":local", which only says where to run it, gone. All of "TINY", " tiny\n", "library/tiny",
// "https:///library/tiny" and "tiny:local" are "tiny:latest". What sends a model to ollama.com stays: "tiny:cloud", and
// "tiny:8b-cloud" also for "tiny:8b:cloud".
// If Ollama would not take the text for a model's name, Canonical returns "".
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

// Stored is Canonical where Ollama reads the name of a model in its store: to copy, push or create one. ":local" and
// ":cloud" are tags like any other there, and space is not taken off.
func Stored(model string) string {
	name := strings.Map(lower, model)
	tag, whole := defaultTag, true
	if i := strings.LastIndex(name, ":"); i > strings.LastIndex(name, "/") {
		name, tag, whole = name[:i], name[i+1:], i > 0
	}
	host, namespace := homeHost, homeNamespace
	rest, name, qualified := cutLast(name, "/")
	if qualified {
		var hosted bool
		whole = whole && rest != ""
		if rest, namespace, hosted = cutLast(rest, "/"); hosted {
			whole = whole && rest != ""
			host = rest
			// Any scheme will do. Only behind one may the host be missing.
			if _, after, ok := strings.Cut(rest, "://"); ok {
				host = cmp.Or(after, homeHost)
			}
		}
	}
	if !whole || !validPart(host, 350, "-_.:") || !validPart(namespace, 80, "-_") ||
		!validPart(name, 80, "-_.") || !validPart(tag, 80, "-_.") {
		return ""
	}

	name += ":" + tag
	if namespace != homeNamespace || host != homeHost {
		name = namespace + "/" + name
	}
	if host != homeHost {
		name = host + "/" + name
	}
	return name
}

// cutSource cuts off the end of a name that says where its model runs: source is "local", "cloud" or "" for
// neither.
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

// lower maps ASCII only: other letters, some of which have ASCII lower cases, are valid nowhere in a name.
func lower(r rune) rune {
	if 'A' <= r && r <= 'Z' {
		r += 'a' - 'A'
	}
	return r
}

// bare returns a model's canonical name without its tag.
func bare(model string) string {
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

// validPart reports whether a lower-case part of a name is 1 to limit bytes of letters, digits, underscores and,
// after the first byte, those in also.
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
