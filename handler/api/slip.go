package api

import (
	"net/http"
	"net/url"
	"strings"
)

// Redirect returns the route whose path the URL has but for doubled slashes and one at
// the end, and the status with which Ollama would send the client there: 301 for a GET
// with a slash at the end, otherwise 307, which keeps method and body.
//
// The client is to be sent to the route's name and nowhere else: nothing that it wrote
// is part of the location. So routes with a {…} in their name get no redirect, and a
// query is dropped: no route of Ollama's needs one. Nor do paths with dots or escapes,
// which servers read in different ways. If there is no such route, it is nil.
func (t *table) Redirect(u *url.URL, method string) (to *route, status int) {
	path, single := tidy(u)
	if to = t.Literal[path]; to == nil || path == u.Path {
		return nil, 0
	}
	if single && method == http.MethodGet {
		return to, http.StatusMovedPermanently
	}
	return to, http.StatusTemporaryRedirect
}

// tidy returns the path with single slashes and none at its end, and whether its
// slashes were single before. A path with escapes gives "".
func tidy(u *url.URL) (path string, single bool) {
	if u.RawPath != "" && u.RawPath != u.Path || !strings.HasPrefix(u.Path, "/") {
		return "", false
	}
	path = u.Path
	if single = !strings.Contains(path, "//"); !single {
		segments := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
		return "/" + strings.Join(segments, "/"), false
	}
	if path != "/" {
		path = strings.TrimSuffix(path, "/")
	}
	return path, true
}

// foreignBases are what users have at the end of a base URL that is meant for another
// kind of client.
var foreignBases = []string{"", "/v1", "/api", "/ollama"}

// Slip finds the wrong base URL behind a path that no route has, such as /v1/v1/models
// or /chat/completions. It returns the route that the client wants, in whose dialect it
// is to be told, and what is wrong. If the path is not that of such a client, the route
// is nil. The message is made of the table's words only.
func (t *table) Slip(u *url.URL) (wanted *route, message string) {
	path, _ := tidy(u)
	for _, base := range foreignBases {
		if wanted, message = t.slipAfter(base, path); wanted != nil {
			return wanted, message
		}
	}
	for _, r := range t.All { // somebody took a whole endpoint for a base URL
		if r.Name == "/" || t.Literal[r.Name] == nil {
			continue
		}
		if wanted, message = t.slipAfter(r.Name, path); wanted != nil {
			return wanted, message
		}
	}
	return nil, ""
}

// slipAfter looks for a route in what follows the base in the path.
func (t *table) slipAfter(base, path string) (wanted *route, message string) {
	rest, ok := strings.CutPrefix(path, base)
	if !ok || !strings.HasPrefix(rest, "/") || rest == "/" {
		return nil, ""
	}
	if r := t.at(rest); r != nil && base != "" {
		return r, "no such route: this client's base URL goes without " + base
	}
	for _, right := range [...]string{"/v1", "/api"} {
		switch r := t.at(right + rest); {
		case r == nil || base == right:
		case base == "":
			return r, "no such route: this client's base URL ends in " + right
		default:
			return r, "no such route: this client's base URL ends in " + right + ", not in " + base
		}
	}
	return nil, ""
}

// at is the route of a path without escapes.
func (t *table) at(path string) *route { return t.Find(&url.URL{Path: path}).Route }
