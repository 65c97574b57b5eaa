package handler

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

//go:embed status.html
var statusPage string

// serve adds to the mux what there is to look at:
//
//	/        a page for people; it holds no data
//	/status  a Status as JSON, once
//	/events  the same as server-sent events, one a second
//
// All three are for those on the machine and in its network, not for web pages
// of others, see [ownNames.check].
func (w *watcher) serve(mux *http.ServeMux) {
	own := ownNames(w.hosts).only
	viewers := make(chan struct{}, maxViewers)
	mux.Handle("GET /{$}", own(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/html; charset=utf-8")
		rw.Header().Set("Content-Security-Policy", statusPolicy)
		io.WriteString(rw, statusPage)
	}))
	mux.Handle("GET /status", own(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		json.NewEncoder(rw).Encode(w.look())
	}))
	mux.Handle("GET /events", own(func(rw http.ResponseWriter, r *http.Request) {
		select {
		case viewers <- struct{}{}:
			defer func() { <-viewers }()
			w.stream(rw, r)
		default:
			http.Error(rw, "too many are looking already", http.StatusServiceUnavailable)
		}
	}))
}

// statusPolicy lets the page do what it does and nothing else: its own script,
// its own style, and its own events. Text cannot become markup.
var statusPolicy = "default-src 'none'; connect-src 'self'; img-src data:" +
	"; script-src " + inline(statusPage, "script") + "; style-src " + inline(statusPage, "style") +
	"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// inline names what stands in an element of a page, for a policy.
func inline(page, element string) string {
	_, text, _ := strings.Cut(page, "<"+element+">")
	text, _, _ = strings.Cut(text, "</"+element+">")
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// ownNames are names by which the private listener may be asked, beside those that
// no stranger can own.
type ownNames []string

// only serves what web pages of others must not see.
func (n ownNames) only(h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Cache-Control", "no-store")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("X-Frame-Options", "DENY")
		if err := n.check(r); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		h(w, r)
	})
}

var errForeignName = errors.New("ask by address, such as http://127.0.0.1:9464, or let the name in with --metrics-host")

// check returns an error if the request may come from a web page of somebody
// else. Such a page can ask for anything, and if its own name has come to lead
// here (DNS rebinding) it can also read the answer: then Host is its name, and
// nothing else in the request is beyond its reach. So names that others can own are
// refused unless they are among n, and addresses, localhost and names without a
// place in the world's DNS are not. Links may lead to what is there to read from
// anywhere; then there is nobody to read what comes but the browser's user.
func (n ownNames) check(r *http.Request) error {
	host := hostOf(r.Host)
	if !isOwnHost(host) && !slices.ContainsFunc(n, func(name string) bool { return sameName(host, name) }) {
		return errForeignName
	}
	for _, origin := range r.Header["Origin"] {
		if u, err := url.Parse(origin); err != nil || u.Host != r.Host {
			return errForeignOrigin
		}
	}
	for _, site := range r.Header["Sec-Fetch-Site"] {
		linked := (r.URL.Path == "/" || r.URL.Path == "/metrics") && r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
		if site != "same-origin" && site != "none" && !linked {
			return errForeignOrigin
		}
	}
	return nil
}

// ParseHosts reads names of hosts, without ports. If one is no name, ParseHosts
// returns an error.
func ParseHosts(names []string) ([]string, error) {
	for _, name := range names {
		if u, err := url.Parse("http://" + name + "/"); err != nil || name == "" || u.Hostname() != name || strings.Contains(name, "*") {
			return nil, fmt.Errorf("%q is no name of a host, such as gpu.example.com, without a port", name)
		}
	}
	return names, nil
}

func sameName(a, b string) bool {
	return strings.EqualFold(strings.TrimSuffix(a, "."), strings.TrimSuffix(b, "."))
}

// isOwnHost reports whether a host of no stranger's can be meant. Ollama takes
// the same ones, and so names that end in .local and .internal; .svc is what names
// in a Kubernetes cluster end in, where .cluster.local is left out.
func isOwnHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "" {
		return false
	}
	top := host[strings.LastIndexByte(host, '.')+1:]
	return top == host || top == "localhost" || top == "local" || top == "internal" || top == "svc"
}
