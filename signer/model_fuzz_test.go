package signer

import (
	"regexp"
	"strings"
	"testing"
)

// nameSpellings are names as people and attackers write them.
var nameSpellings = []string{
	"tiny", "TINY", "Tiny:LATEST", "library/tiny", "Library/Tiny:latest", "registry.ollama.ai/library/tiny:latest",
	"https://registry.ollama.ai/library/tiny", "http://REGISTRY.ollama.ai/library/tiny:latest", "x://registry.ollama.ai/library/tiny",
	"https:///library/tiny", "x:///library/tiny:8b", ":///library/tiny", "a b\x00:///library/tiny", "://library/tiny", "://registry.ollama.ai/library/tiny",
	strings.Repeat("s", 600) + "://registry.ollama.ai/library/tiny", strings.Repeat("/", 600) + "://registry.ollama.ai/library/tiny",
	"a://b://c/library/tiny", "a://b:///library/tiny", "a/b://c/library/tiny", "a/://library/tiny", "https://library/tiny", "https://tiny", "https:///tiny", "https:////tiny",
	"//library/tiny", "/library/tiny", "/tiny", "tiny/", "library//tiny", "x///library/tiny", "a/b/c/d", "///", "/", "//", ":", "::", ":/", "/:", "x:", "x:/", "x:/y", "x/:y", "x:/:y", ":x",
	"host:5000/me/m", "host:/me/m", ":5000/me/m", "host:5000/m", "ho.st/n.s/m", "library/library/library", "library/me/m", "registry.ollama.ai/tiny", "registry.ollama.ai/a/b", "_/_/_:_", "-/a/b", "a/-/b", "a/b/-", "a:-", ".", "..", "../tiny", "a/../tiny", "a.b", "a/b.c:d.e",
	"tiny:local", "tiny:LOCAL", "tiny: local", "tiny:local ", "tiny :local", "tiny:\u00a0local\u2028", "tiny:\vcloud\u0085", "tiny:latest:local", "tiny:8b:local", "tiny:local:local", "tiny:local:cloud", "tiny:cloud:local",
	"tiny-cloud:local", "tiny:8b-cloud:local", "a/tiny:local", "a:local/tiny", "local", ":local", "https:///library/tiny:local", "local:local", "x:loca\u017f",
	"tiny:cloud", "Tiny:CLOUD", "tiny:8b:cloud", "tiny:8b-cloud", "tiny:8b-Cloud ", "tiny:8b-cloud:cloud", "tiny:8b:cloud:cloud", "tiny:-cloud", "tiny::cloud", ":cloud", "-cloud", "tiny-cloud", "a:b-cloud/c", "tiny:clou\u0501",
	"tiny:8b:8b", "tiny@sha256-0123456789abcdef", "tiny@sha256:0123456789abcdef", "tiny:8b@sha256:00", "@sha256:00",
	strings.Repeat("a", 80), strings.Repeat("a", 81), "a:" + strings.Repeat("b", 80), "a:" + strings.Repeat("b", 81), strings.Repeat("a", 80) + "/b", strings.Repeat("a", 81) + "/b",
	strings.Repeat("h", 350) + "/a/b", strings.Repeat("h", 351) + "/a/b", "s://" + strings.Repeat("h", 350) + "/a/b", "s://" + strings.Repeat("h", 351) + "/a/b",
	"", " ", "\t\r\n", " tiny", "tiny\n", "\ttiny\v\f", "\u00a0tiny\u2003", "\u0085tiny", "\ufefftiny", "ti\tny", "tiny\x00", "\x00", "ti ny", "tiny%20", "library%2Ftiny", "%74iny", "a+b", `a\b`, "a?b", "a#b",
	"\u212aiwi", "\u017ftiny", "tïny", "größe", "tiny:lat\u0435st", "\xff", "tiny\xff", "\xc2", "tiny:\u0130", "\U0001f600",
	"hf.co/unsloth/Qwen3-8B-GGUF:Q4_K_M", "gpt-oss:120b-cloud", "http://registry.ollama.ai:443/library/tiny", "registry.ollama.ai./library/tiny", "!MISSING!", "a/!MISSING!:b",
}

// secondReader reads names by Ollama's rules once more, written down in another
// way: what it says, CanonicalName has to say.
func secondReader(name string) (canonical string, ok bool) {
	// The tag is what follows the last colon, unless a slash does.
	slashes := strings.Split(name, "/")
	model, tag := slashes[len(slashes)-1], "latest"
	if colons := strings.Split(model, ":"); len(colons) > 1 {
		tag = colons[len(colons)-1]
		model = strings.Join(colons[:len(colons)-1], ":")
	}

	namespace, host := "library", "registry.ollama.ai"
	if len(slashes) > 1 {
		namespace = slashes[len(slashes)-2]
	}
	if len(slashes) > 2 {
		where := strings.Join(slashes[:len(slashes)-2], "/")
		// Everything up to the first :// is a scheme, and counts for nothing. Only behind it may the host be left out.
		if at := strings.Index(where, "://"); at < 0 {
			host = where
		} else if where[at+3:] != "" {
			host = where[at+3:]
		}
	}

	letters := regexp.MustCompile(`\A[0-9A-Za-z_][0-9A-Za-z_.-]*\z`).MatchString
	if !letters(model) || !letters(tag) || !letters(namespace) || strings.Contains(namespace, ".") ||
		!regexp.MustCompile(`\A[0-9A-Za-z_][0-9A-Za-z_.:-]*\z`).MatchString(host) ||
		len(model) > 80 || len(tag) > 80 || len(namespace) > 80 || len(host) > 350 {
		return "", false
	}
	full := strings.ToLower(host + "/" + namespace + "/" + model + ":" + tag)
	for _, home := range []string{"registry.ollama.ai/library/", "registry.ollama.ai/"} {
		if rest, isHome := strings.CutPrefix(full, home); isHome {
			return rest, true
		}
	}
	return full, true
}

var (
	space    = `[\s\v\p{Z}\x{85}]*`
	localEnd = regexp.MustCompile(`(?is)\A(.*):` + space + `local` + space + `\z`)
	cloudEnd = regexp.MustCompile(`(?is)\A(.*):` + space + `cloud` + space + `\z`)
	cloudTag = regexp.MustCompile(`(?is)\A(.*:)` + space + `([^:/]*)-cloud` + space + `\z`)
)

// secondModelReader does so for CanonicalModel: it takes off the name what says
// where its model is to run, once and no more.
func secondModelReader(name string) (canonical string, ok bool) {
	name = strings.TrimSpace(name)
	isSourced := func(s string) bool {
		return localEnd.MatchString(s) || cloudEnd.MatchString(s) || cloudTag.MatchString(s)
	}
	var base string
	switch {
	case localEnd.MatchString(name):
		base = localEnd.FindStringSubmatch(name)[1]
		canonical, ok = secondReader(base)
	case cloudEnd.MatchString(name):
		base = cloudEnd.FindStringSubmatch(name)[1]
		if canonical, ok = secondReader(base); ok && strings.Contains(base[strings.LastIndex(base, "/")+1:], ":") {
			canonical += "-cloud"
		} else if ok {
			canonical = strings.TrimSuffix(canonical, "latest") + "cloud"
		}
	case cloudTag.MatchString(name):
		parts := cloudTag.FindStringSubmatch(name)
		base = parts[1] + parts[2]
		if canonical, ok = secondReader(base); ok {
			canonical += "-cloud"
		}
	default:
		return secondReader(name)
	}
	if !ok || isSourced(base) {
		return "", false
	}
	return canonical, true
}

func checkName(t *testing.T, name string) {
	t.Helper()
	for _, reading := range []struct {
		what         string
		first, other func(string) (string, bool)
	}{{"model", CanonicalModel, secondModelReader}, {"name", CanonicalName, secondReader}} {
		got, ok := reading.first(name)
		want, wantOK := reading.other(name)
		if got != want || ok != wantOK {
			t.Errorf("the %s %q is %q, %v; by Ollama's rules it is %q, %v", reading.what, name, got, ok, want, wantOK)
		}
		if again, ok := reading.first(got); got != "" && (!ok || again != got) {
			t.Errorf("the %s %q is %q, whose own spelling is %q, %v", reading.what, name, got, again, ok)
		}
		if got != "" && len(got) <= maxModelName && (!isGlob([]byte(got)) || !glob(got).matches(got)) {
			t.Errorf("the %s %q is %q, which does not match itself as a pattern", reading.what, name, got)
		}
	}
}

func TestNamesAreReadByOllamasRules(t *testing.T) {
	for _, name := range nameSpellings {
		checkName(t, name)
	}
}

// FuzzCanonicalModel holds the reading of names to a second reader.
func FuzzCanonicalModel(f *testing.F) {
	for _, name := range nameSpellings {
		f.Add(name)
	}
	f.Fuzz(checkName)
}
