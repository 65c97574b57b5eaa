package e2e_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
)

// TestAlmostAKey: a credential that differs from the key in any byte, or stands in
// another place, is refused. TestCredentials has what may stand around a key.
func TestAlmostAKey(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	key := s.Key
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
		key + ",", key + ";", key + ", " + key, key + " " + key, key + ":", key + "/", key + "#x", key + "?x", key + "\t" + key, "'" + key + `"`, `"` + key, key + "'", `"'` + key + `'"`, `""` + key + `""`, "`" + key + "`", "\u201c" + key + "\u201d", "<" + key + ">", "(" + key + ")", key + "." + tag, key + key, "key=" + key, "token=" + key, "Bearer Bearer " + key, "Bearer\t" + key, "Token " + key,
		// Much less.
		"OLLAMA-" + uuid, "OLLAMA-" + uuid + ".", tag, "." + tag, uuid, uuid + "." + tag, "-" + uuid + "." + tag, "*", "null", "undefined", "true", "Bearer", "''", "' OR 1=1 --", "OLLAMA-*", "OLLAMA-" + strings.Repeat("0", 36) + "." + strings.Repeat("A", 43),
	} {
		lines = append(lines, "Authorization: Bearer "+almost, "X-Api-Key: "+almost)
	}
	basic := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	for _, value := range []string{
		"Basic " + basic(key), "Basic " + basic("x:y:"+key), "Basic " + basic(key+"x:"), "Basic " + basic("x:"+key+"\x00"), "Basic " + basic("x:"+key+"\n"), "Basic " + basic("x:"+key) + "!", "Basic" + basic("x:"+key), "Basic\t" + basic("x:"+key), "Basic " + key, "Basic x:" + key,
		"Basic Basic " + basic("x:"+key), `Basic "` + basic("x:"+key) + `"`, "Bearer " + basic(key), "Bearer " + basic("x:"+key), "basic " + basic("x:Bearer "+key), "Digest " + basic("x:"+key),
		"Digest " + key, "Token " + key, "Key " + key, "ApiKey " + key, "Negotiate " + key, "OAuth " + key, "JWT " + key, "Bearer=" + key, "Bearer:" + key, "Bearer: " + key, "Bearer," + key, "BearerX " + key, "Bear er " + key, "Bearer" + key, "Bearer\u00a0" + key, "\u00a0Bearer " + key,
		"Bearer\u2003" + key, "Bearer \t" + key, "\u0412earer " + key, "\uff22earer " + key, "Beare\u0159 " + key, "Bearer bearer bearer " + key, "Bearer Basic " + key, "Basic Bearer " + key, "Basic x, Bearer " + key, "Bearer " + key + ", Basic x", `Bearer realm="x", ` + key, `Bearer token="` + key + `"`, key + " Bearer",
	} {
		lines = append(lines, "Authorization: "+value)
	}
	for _, name := range []string{
		"X_Api_Key", "X-Api_Key", "Api_Key", "Apikey", "X-Apikey", "X-Api-Keys", "X-Api-Key-", "X--Api-Key", "X-Auth", "X-Auth-Token", "X-Access-Token", "X-Authorization", "X-Original-Authorization", "X-Forwarded-Authorization", "Proxy-Authorization", "Www-Authenticate",
		"Authorizations", "Authorization-", "Auth", "Token", "Bearer", "Ollama-Api-Key", "Openai-Api-Key", "Cookie", "Set-Cookie", "Sec-Websocket-Protocol", "Referer", "User-Agent", "From", "X-Goog-Api_Key", "Goog-Api-Key", "X-Amz-Security-Token", "Http-Authorization", "Redirect-Http-Authorization",
	} {
		lines = append(lines, name+": Bearer "+key, name+": "+key)
	}
	for _, name := range []string{"X-Api-Key", "Api-Key", "X-Goog-Api-Key"} { // they take a key and no scheme
		lines = append(lines, name+": Bearer "+key, name+": Basic "+basic("x:"+key), name+": "+basic("x:"+key), name+": "+key+", "+key)
	}
	var requests []string
	for _, line := range lines {
		requests = append(requests, handlertest.Head("GET", "/api/tags", line)+"\r\n")
	}
	for _, name := range []string{"Authorization ", "Authorization\t", " Authorization", "Authorization\x00", "Author\u0131zation", "Authorization\u00a0", "X-Api-Key ", "X-Api\u2010Key"} {
		requests = append(requests, handlertest.Head("GET", "/api/tags", name+": Bearer "+key)+"\r\n")
	}
	for _, target := range []string{
		"?authorization=Bearer%20", "?Authorization=", "?x-api-key=", "?api_key=", "?api-key=", "?apikey=", "?key=", "?token=", "?access_token=", "?auth=", "?bearer=", "?", "?a=b&key=", "#", ";key=", "/", "%20", "/../?key=",
	} {
		requests = append(requests, handlertest.Head("GET", "/api/tags"+target+key)+"\r\n", handlertest.Head("GET", "http://"+key+"@x/api/tags"+target)+"\r\n", handlertest.Head("GET", "http://x:"+key+"@x/api/tags"+target)+"\r\n")
	}
	for i, got := range knock(s, t, "GET", requests) {
		if got != 401 && got != 400 {
			t.Errorf("%q: %d", requests[i], got)
		}
	}
	s.ExpectNoRequest(t)
}

// TestKeyInAFoldedLine: RFC 9112 section 5.2 lets a header continue on the next line.
// net/http joins the two lines to "Bearer", a space and the key, which is accepted.
func TestKeyInAFoldedLine(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	for line, want := range map[string]int{
		"Authorization:\r\n Bearer " + s.Key:                       200,
		"Authorization: Bearer\r\n " + s.Key:                       200,
		"Authorization: Bearer\r\n\t " + s.Key:                     200,
		"Authorization: Bearer \r\n " + s.Key:                      200,
		"Authorization: Bearer " + s.Key[:9] + "\r\n " + s.Key[9:]: 401,
		"Authorization: Bea\r\n rer " + s.Key:                      401,
		"X: y\r\n Authorization: Bearer " + s.Key:                  401,
		"X-Api-Key:\r\n " + s.Key:                                  200,
		"X-Api-Key: x\r\n " + s.Key:                                401,
	} {
		w := s.Dial(t)
		w.Writef("%s\r\n", handlertest.Head("GET", "/api/tags", line))
		if got := w.Answer("GET"); got.Status != want {
			t.Errorf("%q: %s", line, got)
		}
	}
}

// TestOrdinaryKeyIsNotAnAdminKey: neither an ordinary key nor anything that can be made
// from it opens an admin route, and the tag of an ADMIN key does not make an ordinary
// key.
func TestOrdinaryKeyIsNotAnAdminKey(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	type parts struct{ uuid, tag string }
	split := func(key string) parts { return parts{key[len(key)-80 : len(key)-44], key[len(key)-43:]} }
	key, admin := split(s.Key), split(s.Admin)
	narrowed := s.Mint(false, "label=x")
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
			w := s.Dial(t)
			w.Send(c.method, c.path, tiny, handlertest.Bearer(forged))
			if got := w.Answer(c.method); got.Status != 401 {
				t.Errorf("%s: %s %s: %s", name, c.method, c.path, got)
			}
		}
	}
	s.ExpectNoRequest(t)
	// What a holder may chain takes rights away, and gives none.
	if got := s.Ask(t, "POST", "/api/pull", tiny); got.Status != 403 {
		t.Errorf("the key itself: %s", got)
	}
	for _, caveat := range []string{"routes=admin", "routes=chat,embed,models,admin", "models=*", "from=0.0.0.0/0,::/0", "streams=1000000", "rpm=1000000", "label=admin", "label=x.OLLAMA-ADMIN-" + key.uuid} {
		w := s.Dial(t)
		w.Send("POST", "/api/pull", tiny, handlertest.Bearer(chain(caveat)))
		if got := w.Answer("POST"); got.Status != 403 {
			t.Errorf("with %s: %s", caveat, got)
		}
	}
	s.ExpectNoRequest(t)
}

// TestAddressInAHeaderIsNotBelieved: a key for one network cannot be used by a client
// that only claims an address there.
func TestAddressInAHeaderIsNotBelieved(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	key := handlertest.Bearer(s.Mint(false, "from=10.0.0.0/8"))
	var requests []string
	for _, name := range []string{"X-Forwarded-For", "X-Real-Ip", "Forwarded", "X-Client-Ip", "Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip", "Fastly-Client-Ip", "X-Cluster-Client-Ip", "X-Originating-Ip", "X-Remote-Ip", "X-Remote-Addr", "Via", "Remote-Addr", "X-Envoy-External-Address", "X-Appengine-User-Ip"} {
		for _, value := range []string{"10.0.0.1", "for=10.0.0.1", "10.0.0.1, 127.0.0.1", "127.0.0.1, 10.0.0.1"} {
			requests = append(requests, handlertest.Head("GET", "/api/tags", key, name+": "+value)+"\r\n")
		}
	}
	for i, got := range knock(s, t, "GET", requests) {
		if got != 403 {
			t.Errorf("%q: %d", requests[i], got)
		}
	}
	s.ExpectNoRequest(t)
}
