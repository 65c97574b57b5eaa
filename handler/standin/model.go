package standin

import "strings"

const (
	homeHost      = "registry.ollama.ai"
	homeNamespace = "library"
	defaultTag    = "latest"
)

// Canonical returns the one spelling that stands for all that Ollama takes for the same model: lower case, without
// surrounding space, the default registry and namespace left out, the tag always there, and ":local", which only
// says where to run it, gone. All of "TINY", " tiny\n", "library/tiny", "https://registry.ollama.ai/library/tiny" and
// "tiny:local" are "tiny:latest". What sends a model to ollama.com stays: "tiny:cloud", and "tiny:8b-cloud" also for
// "tiny:8b:cloud".
// If Ollama would not take the text for a model's name, Canonical returns "".
func Canonical(model string) string {
	name, source := cutSource(strings.Map(lower, strings.TrimSpace(model)))
	if _, second := cutSource(name); source != "" && second != "" {
		return ""
	}

	tag, tagged := defaultTag, false
	if i := strings.LastIndex(name, ":"); i > strings.LastIndex(name, "/") {
		name, tag, tagged = name[:i], name[i+1:], true
	}
	switch {
	case source == "cloud" && tagged:
		tag += "-cloud"
	case source == "cloud":
		tag = "cloud"
	}

	host, namespace := homeHost, homeNamespace
	rest, name, qualified := cutLast(name, "/")
	if qualified {
		var hosted bool
		if rest, namespace, hosted = cutLast(rest, "/"); hosted {
			host = rest
			if _, after, ok := strings.Cut(rest, "://"); ok {
				host = after
			}
		}
	}
	if !validPart(host, 350, "-_.:") || !validPart(namespace, 80, "-_") ||
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
	suffix = strings.TrimSpace(suffix)
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
