package handler_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// knock sends requests one after the other, on as few connections as they allow,
// and returns the statuses of the answers.
func (s *site) knock(t *testing.T, method string, requests []string) (statuses []int) {
	t.Helper()
	var w *wire
	for _, request := range requests {
		if w == nil {
			w = s.dial(t)
		}
		w.write("%s", request)
		res := w.begun(method)
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Errorf("%.200q: %v", request, err)
		}
		statuses = append(statuses, res.StatusCode)
		if res.Close {
			w.Close()
			w = nil
		}
	}
	return statuses
}

// otherMethods are those that no route has, besides the ones in methods.
var otherMethods = []string{
	"PATCH", "CONNECT", "PROPFIND", "PROPPATCH", "MKCOL", "MOVE", "COPY", "LOCK", "UNLOCK", "REPORT", "SEARCH", "QUERY", "PURGE", "LINK", "M-SEARCH",
	"post", "Post", "pOST", "POSTS", "POS", "XPOST", "DELETE_", "-", "*", "POST.", "G3T", "!",
}

// TestOtherMethods do not get in anywhere, whatever key they bring.
func TestOtherMethods(t *testing.T) {
	t.Parallel()
	s := start(t, config{})
	paths := []string{"/nowhere", "/api/me"}
	for _, p := range policy {
		paths = append(paths, p.path)
	}
	for _, key := range []string{"X-No: key", bearer("OLLAMA-" + s.admin[13:]), bearer(s.key), bearer(s.admin)} {
		var requests []string
		var want []int
		for i, path := range paths {
			for _, method := range otherMethods {
				requests = append(requests, head(method, path, key)+"\r\n")
				switch {
				case key != bearer(s.key) && key != bearer(s.admin):
					want = append(want, 401)
				case i < 2:
					want = append(want, 404)
				default:
					want = append(want, 405)
				}
			}
		}
		for i, got := range s.knock(t, "POST", requests) {
			if got != want[i] {
				t.Errorf("%.40q: %d, not %d", requests[i], got, want[i])
			}
		}
	}
	s.nothingArrived(t)
}

// TestMethodsAndRoutesInHeaders: some servers let a client say again what it
// wants. It is what the request line says that is checked, and what is sent.
func TestMethodsAndRoutesInHeaders(t *testing.T) {
	t.Parallel()
	s := start(t, config{})
	for i, h := range []string{
		"X-HTTP-Method-Override: DELETE", "X-HTTP-Method: DELETE", "X-Method-Override: DELETE", "X-Original-Method: DELETE",
		"X-Original-URL: /api/delete", "X-Rewrite-URL: /api/delete", "X-Override-URL: /api/delete", "X-Original-URI: /api/delete", "X-Accel-Redirect: /api/delete",
		"X-Forwarded-Uri: /api/delete", "X-Forwarded-Prefix: /api/delete?", "Destination: /api/delete", "Content-Location: /api/delete", "Referer: /api/delete",
	} {
		got := s.ask(t, "GET", "/api/tags?_method=DELETE&path=/api/delete", "", h)
		if seen := s.arrival(t, i+1); got.status != 200 || seen.Method != "GET" || seen.URI != "/api/tags?_method=DELETE&path=/api/delete" {
			t.Errorf("%s: %s, arrived as %s %s", h, got, seen.Method, seen.URI)
		}
	}
}

// almost are paths that somebody might take for the given one.
func almost(path string) (all []string) {
	add := func(paths ...string) { all = append(all, paths...) }
	for i, c := range []byte(path) {
		before, after := path[:i], path[i+1:]
		add(fmt.Sprintf("%s%%%02x%s", before, c, after), fmt.Sprintf("%s%%%02X%s", before, c, after), fmt.Sprintf("%s%%25%02x%s", before, c, after))
		if c != '/' {
			add(before+strings.ToUpper(string(c))+after, before+string(rune(c)-'!'+'！')+after, before+string(c)+"\u0301"+after, before+string(c)+"\u200b"+after)
			continue
		}
		for _, slash := range []string{
			"//", "/./", "/../", "/x/../", "/.;/", "/;x/", "/%2e/", "/%2e%2e/", "/..%2f", "/%2f", "%2f/", "\\", "%5c", "/\\", "/%09", "/%0a", "/%00/", "/ /", "/+/",
			"\u2215", "\u2044", "\uff0f", "%c0%af", "%e0%80%af", "%f0%80%80%af", "%c1%9c", "%u002f", "\xc0\xaf", "\xaf",
		} {
			add(before + slash + after)
		}
	}
	for _, end := range []string{
		"/", "//", "/.", "/..", "/../", ".", "..", "...", ";", ";x=y", ";/", "%3b", "%20", "+", "%00", "%0a", "%0d%0a", "%09", "%3f", "%23", "#", "#?", "~", "*", "%", "%2", "%zz", "%ff",
		"\\", "|", ":80", "@x", ",", "'", "\"", ".json", "/index", "\u00a0", "\u3000", "\u200b", "\ufeff", "\x7f", "\xff",
	} {
		add(path + end)
	}
	add("/api/version/.."+path, "/api/version/%2e%2e"+path, "/v1"+path, "/."+path, "/.."+path, "/%2e%2e"+path, "."+path, ".."+path, "~"+path, "@"+path, ":"+path, "?"+path, "#"+path, "/?"+path[1:], "*"+path,
		strings.ToUpper(path), strings.TrimPrefix(path, "/"), "http:/"+path, "http://"+path, "http://x?"+path, "http://x#"+path, "http://x/."+path, "http://x/"+path, "http://x%2f"+path, "//x"+path)
	// These are the path itself, after a scheme, or as a query.
	same := []string{path, "http://" + path, "http:/" + path}
	return slices.DeleteFunc(all, func(p string) bool { return slices.Contains(same, p) || strings.HasPrefix(p, "/?") })
}

// TestAlmostAPath: what is not a path of the table byte for byte reaches nothing,
// not even with an admin's key, whatever another server would make of it.
func TestAlmostAPath(t *testing.T) {
	t.Parallel()
	for _, p := range []struct{ method, path string }{
		{"POST", "/api/pull"}, {"DELETE", "/api/delete"}, {"GET", "/api/tags"}, {"POST", "/v1/chat/completions"},
	} {
		t.Run(p.path, func(t *testing.T) {
			t.Parallel()
			s := start(t, config{})
			for key, want := range map[string][]int{"X-No: key": {400, 401}, bearer(s.admin): {400, 404, 405}} {
				var requests []string
				for _, path := range almost(p.path) {
					requests = append(requests, head(p.method, path, key)+"\r\n")
				}
				for i, got := range s.knock(t, p.method, requests) {
					if !slices.Contains(want, got) {
						t.Errorf("%.100q: %d", requests[i], got)
					}
				}
			}
			s.nothingArrived(t)
		})
	}
}

// TestTheSegmentOfAPath: whatever stands for {model}, it leaves as one segment, and
// nothing in it can be taken for more, also once it is decoded.
func TestTheSegmentOfAPath(t *testing.T) {
	t.Parallel()
	s, tap := startTapped(t, config{})
	var requests []string
	for _, path := range almost("/v1/models/tiny") {
		requests = append(requests, head("GET", path, bearer(s.key))+"\r\n")
	}
	s.knock(t, "GET", requests)
	arrived := tap.take(t, s.upstream)
	if len(arrived) < 50 {
		t.Errorf("%d requests reached Ollama", len(arrived))
	}
	for _, sent := range arrived {
		segment, ok := strings.CutPrefix(sent.target, "/v1/models/")
		decoded, err := url.PathUnescape(segment)
		if !ok && sent.target != "/v1/models" || err != nil || strings.ContainsAny(segment, "/;?#") || !isASCII(segment) ||
			decoded == "." || decoded == ".." || strings.ContainsAny(decoded, "/\\") || strings.ContainsFunc(decoded, isControl) {
			t.Errorf("sent on %q", sent.target)
		}
	}
}

func isASCII(s string) bool { return !strings.ContainsFunc(s, func(r rune) bool { return r > '~' }) }

// TestAlmostAKey: what is not a key byte for byte is none, however much it looks
// like one, and wherever it stands.
func TestAlmostAKey(t *testing.T) {
	t.Parallel()
	s := start(t, config{})
	key := s.key
	uuid, tag := key[len("OLLAMA-"):len("OLLAMA-")+36], key[len(key)-43:]
	var lines []string
	for _, almost := range []string{
		// Letters that look alike.
		strings.Replace(key, "O", "\u041e", 1), strings.Replace(key, "O", "\uff2f", 1), strings.Replace(key, "A", "\u0410", 1), strings.Replace(key, "L", "\u2112", 1), strings.Replace(key, "O", "0", 1),
		strings.Replace(key, "-", "\u2010", 1), strings.Replace(key, "-", "\u2011", 1), strings.Replace(key, "-", "\u2212", 1), strings.Replace(key, "-", "\uff0d", 1), strings.Replace(key, "-", "_", 1), strings.Replace(key, ".", "\u2024", 1), strings.Replace(key, ".", "\uff0e", 1),
		// What cannot be seen.
		"\ufeff" + key, "\u200b" + key, key + "\u200b", "\u00a0" + key, key + "\u00a0", key + "\u3000", "\u202e" + key, strings.Replace(key, "-", "-\u00ad", 1), strings.Replace(key, "A", "A\u0301", 1), key + "\xa0", key + "\x85", key + "\x1c",
		// Another spelling of the same.
		strings.ToLower(key), "ollama-" + uuid + "." + tag, "Ollama-" + uuid + "." + tag, "OLLAMA-" + strings.ToUpper(uuid) + "." + tag, "OLLAMA-{" + uuid + "}." + tag, "OLLAMA-urn:uuid:" + uuid + "." + tag, "OLLAMA-" + strings.ReplaceAll(uuid, "-", "") + "." + tag,
		key + "=", key + "==", "OLLAMA-" + uuid + "." + strings.NewReplacer("-", "+", "_", "/").Replace(tag) + "=", strings.Replace(key, ".", "%2e", 1), strings.Replace(key, "-", "%2d", 1), strings.Replace(key, ".", "..", 1), strings.Replace(key, ".", "~.", 1), strings.Replace(key, ".", ".~", 1), strings.Replace(key, ".", "~~.", 1), strings.Replace(key, "OLLAMA", "OLLAMA\\u002d", 1),
		// A little more.
		key + ",", key + ";", key + ", " + key, key + " " + key, key + ":", key + "/", key + "#x", key + "?x", key + "\t" + key, "'" + key + "'", `"` + key + `"`, "<" + key + ">", "(" + key + ")", key + "." + tag, key + key, "key=" + key, "token=" + key, "Bearer " + key,
		// Much less.
		"OLLAMA-" + uuid, "OLLAMA-" + uuid + ".", tag, "." + tag, uuid, uuid + "." + tag, "-" + uuid + "." + tag, "*", "null", "undefined", "true", "Bearer", "''", "' OR 1=1 --", "OLLAMA-*", "OLLAMA-" + strings.Repeat("0", 36) + "." + strings.Repeat("A", 43),
	} {
		lines = append(lines, "Authorization: Bearer "+almost, "X-Api-Key: "+almost)
	}
	basic := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	for _, value := range []string{
		"Basic " + basic(key), "Basic " + basic(key+":"), "Basic " + basic(":"+key), "Basic " + basic("user:"+key), "Basic " + basic(key+":"+key), "Bearer " + basic(key), "basic " + basic("x:Bearer "+key),
		"Digest " + key, "Token " + key, "Key " + key, "ApiKey " + key, "Negotiate " + key, "OAuth " + key, "JWT " + key, "Bearer=" + key, "Bearer:" + key, "Bearer: " + key, "Bearer," + key, "BearerX " + key, "Bear er " + key, "Bearer" + key, "Bearer\u00a0" + key, "\u00a0Bearer " + key,
		"Bearer\u2003" + key, "Bearer  " + key, "Bearer \t" + key, "\u0412earer " + key, "\uff22earer " + key, "Beare\u0159 " + key, "Bearer bearer " + key, "Basic x, Bearer " + key, "Bearer " + key + ", Basic x", `Bearer realm="x", ` + key, `Bearer token="` + key + `"`, key + " Bearer",
	} {
		lines = append(lines, "Authorization: "+value)
	}
	for _, name := range []string{
		"X_Api_Key", "X-Api_Key", "Api-Key", "Apikey", "X-Apikey", "X-Api-Keys", "X-Api-Key-", "X--Api-Key", "X-Auth", "X-Auth-Token", "X-Access-Token", "X-Authorization", "X-Original-Authorization", "X-Forwarded-Authorization", "Proxy-Authorization", "Www-Authenticate",
		"Authorizations", "Authorization-", "Auth", "Token", "Bearer", "Ollama-Api-Key", "Openai-Api-Key", "Cookie", "Set-Cookie", "Sec-Websocket-Protocol", "Referer", "User-Agent", "From", "X-Goog-Api-Key", "X-Amz-Security-Token", "Http-Authorization", "Redirect-Http-Authorization",
	} {
		lines = append(lines, name+": Bearer "+key, name+": "+key)
	}
	var requests []string
	for _, line := range lines {
		requests = append(requests, head("GET", "/api/tags", line)+"\r\n")
	}
	for _, name := range []string{"Authorization ", "Authorization\t", " Authorization", "Authorization\x00", "Author\u0131zation", "Authorization\u00a0", "X-Api-Key ", "X-Api\u2010Key"} {
		requests = append(requests, head("GET", "/api/tags", name+": Bearer "+key)+"\r\n")
	}
	for _, target := range []string{
		"?authorization=Bearer%20", "?Authorization=", "?x-api-key=", "?api_key=", "?api-key=", "?apikey=", "?key=", "?token=", "?access_token=", "?auth=", "?bearer=", "?", "?a=b&key=", "#", ";key=", "/", "%20", "/../?key=",
	} {
		requests = append(requests, head("GET", "/api/tags"+target+key)+"\r\n", head("GET", "http://"+key+"@x/api/tags"+target)+"\r\n", head("GET", "http://x:"+key+"@x/api/tags"+target)+"\r\n")
	}
	for i, got := range s.knock(t, "GET", requests) {
		if got != 401 && got != 400 {
			t.Errorf("%q: %d", requests[i], got)
		}
	}
	s.nothingArrived(t)
}

// TestAKeyInAFoldedLine is one: RFC 9112 section 5.2 lets a line go on in the
// next, and to net/http both together are "Bearer", a space, and the key.
func TestAKeyInAFoldedLine(t *testing.T) {
	t.Parallel()
	s := start(t, config{})
	for line, want := range map[string]int{
		"Authorization:\r\n Bearer " + s.key:                       200,
		"Authorization: Bearer\r\n " + s.key:                       200,
		"Authorization: Bearer\r\n\t " + s.key:                     200,
		"Authorization: Bearer \r\n " + s.key:                      200,
		"Authorization: Bearer " + s.key[:9] + "\r\n " + s.key[9:]: 401,
		"Authorization: Bea\r\n rer " + s.key:                      401,
		"X: y\r\n Authorization: Bearer " + s.key:                  401,
		"X-Api-Key:\r\n " + s.key:                                  200,
		"X-Api-Key: x\r\n " + s.key:                                401,
	} {
		w := s.dial(t)
		w.write("%s\r\n", head("GET", "/api/tags", line))
		if got := w.answer("GET"); got.status != want {
			t.Errorf("%q: %s", line, got)
		}
	}
}

// TestAnOrdinaryKeyIsNoAdmins: neither the tag of an ordinary key, nor anything
// that can be made from it, opens an admin's route; and an admin's tag makes no
// ordinary key.
func TestAnOrdinaryKeyIsNoAdmins(t *testing.T) {
	t.Parallel()
	s := start(t, config{})
	type parts struct{ uuid, tag string }
	split := func(key string) parts { return parts{key[len(key)-80 : len(key)-44], key[len(key)-43:]} }
	key, admin := split(s.key), split(s.admin)
	narrowed := s.mint(false, "label=x")
	mac := func(with, text string) string {
		raw, err := base64.RawURLEncoding.DecodeString(with)
		if err != nil {
			t.Fatal(err)
		}
		h := hmac.New(sha256.New, raw)
		h.Write([]byte(text))
		return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
	}
	// Whoever has a key may chain caveats to it, of any text.
	chain := func(text string) string {
		encoded := base64.RawURLEncoding.EncodeToString([]byte(text))
		return "OLLAMA-" + key.uuid + "~" + encoded + "." + mac(key.tag, encoded)
	}
	verbatim := func(caveat string) string { return "OLLAMA-" + key.uuid + "~" + caveat + "." + mac(key.tag, caveat) }
	for name, forged := range map[string]string{
		"the tag moved to an admin's head":         "OLLAMA-ADMIN-" + key.uuid + "." + key.tag,
		"the tag moved to an admin's own head":     "OLLAMA-ADMIN-" + admin.uuid + "." + key.tag,
		"an admin's tag moved to an ordinary head": "OLLAMA-" + admin.uuid + "." + admin.tag,
		"an admin's tag for the key's head":        "OLLAMA-" + key.uuid + "." + admin.tag,
		"ADMIN twice":                              "OLLAMA-ADMIN-ADMIN-" + key.uuid + "." + key.tag,
		"ADMIN after the UUID":                     "OLLAMA-" + key.uuid + "-ADMIN." + key.tag,
		"ADMIN in the UUID":                        "OLLAMA-ADMIN-" + key.uuid[6:] + "." + key.tag,
		"ADMIN in a UUID of the right length":      "OLLAMA-ADMIN-" + key.uuid[:30] + "." + key.tag,
		"ADMIN in place of the UUID":               "OLLAMA-ADMIN-." + key.tag,
		"admin in lower case":                      "OLLAMA-admin-" + key.uuid + "." + key.tag,
		"the key as a secret":                      "OLLAMA-ADMIN-" + key.uuid + "." + mac(key.tag, "OLLAMA-ADMIN-"+key.uuid),
		"the key as a secret, for an admin's head": "OLLAMA-ADMIN-" + admin.uuid + "." + mac(key.tag, "OLLAMA-ADMIN-"+admin.uuid),
		"a caveat that says so":                    chain("admin=true"),
		"a caveat of another name":                 chain("ADMIN=1"),
		"a caveat without a name":                  chain("=admin"),
		"a caveat without a value":                 chain("admin"),
		"an empty caveat":                          verbatim(""),
		"a head for a caveat":                      verbatim("OLLAMA-ADMIN-" + key.uuid),
		"a key for a caveat":                       verbatim("OLLAMA-ADMIN-" + key.uuid + "." + key.tag),
		"a class that is no more":                  chain("routes=admin,everything"),
		"the caveat taken off":                     narrowed[:43] + narrowed[len(narrowed)-44:],
		"the caveat's tag in place of the key's":   "OLLAMA-" + key.uuid + narrowed[len(narrowed)-44:],
	} {
		for _, c := range []struct{ method, path string }{{"GET", "/api/tags"}, {"POST", "/api/pull"}, {"DELETE", "/api/delete"}} {
			w := s.dial(t)
			w.send(c.method, c.path, tiny, bearer(forged))
			if got := w.answer(c.method); got.status != 401 {
				t.Errorf("%s: %s %s: %s", name, c.method, c.path, got)
			}
		}
	}
	s.nothingArrived(t)
	// What a holder may chain takes rights away, and gives none.
	if got := s.ask(t, "POST", "/api/pull", tiny); got.status != 403 {
		t.Errorf("the key itself: %s", got)
	}
	for _, caveat := range []string{"routes=admin", "routes=chat,embed,models,admin", "models=*", "from=0.0.0.0/0,::/0", "streams=1000000", "rpm=1000000", "label=admin", "label=x.OLLAMA-ADMIN-" + key.uuid} {
		w := s.dial(t)
		w.send("POST", "/api/pull", tiny, bearer(chain(caveat)))
		if got := w.answer("POST"); got.status != 403 {
			t.Errorf("with %s: %s", caveat, got)
		}
	}
	s.nothingArrived(t)
}

// TestAnAddressInAHeader: a key for one network is not for all who say that they
// are there.
func TestAnAddressInAHeader(t *testing.T) {
	t.Parallel()
	s := start(t, config{})
	key := bearer(s.mint(false, "from=10.0.0.0/8"))
	var requests []string
	for _, name := range []string{"X-Forwarded-For", "X-Real-Ip", "Forwarded", "X-Client-Ip", "Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip", "Fastly-Client-Ip", "X-Cluster-Client-Ip", "X-Originating-Ip", "X-Remote-Ip", "X-Remote-Addr", "Via", "Remote-Addr", "X-Envoy-External-Address", "X-Appengine-User-Ip"} {
		for _, value := range []string{"10.0.0.1", "for=10.0.0.1", "10.0.0.1, 127.0.0.1", "127.0.0.1, 10.0.0.1"} {
			requests = append(requests, head("GET", "/api/tags", key, name+": "+value)+"\r\n")
		}
	}
	for i, got := range s.knock(t, "GET", requests) {
		if got != 403 {
			t.Errorf("%q: %d", requests[i], got)
		}
	}
	s.nothingArrived(t)
}
