//go:build unix

package main

import (
	"net/http"
	"regexp"
	"strings"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
)

// checkAffinity: requests with a key, in any header, and with keys made from it go to one
// replica, and other keys to others. No part of a key is in HAProxy's log.
func checkAffinity() {
	keys := strings.Fields(mint("--count", "48"))
	served := map[string]int{}
	for _, key := range keys {
		narrow := kit.Command("restrict", "--models", "llama3.2", key)
		head := key[:strings.IndexByte(key, '.')]
		home := ""
		for i := range 16 {
			set := func(r *http.Request) {}
			switch i % 8 {
			case 1:
				set = func(r *http.Request) { r.Header.Set("Authorization", "bearer "+key) }
			case 2:
				set = func(r *http.Request) { r.Header.Del("Authorization"); r.Header.Set("X-Api-Key", key) }
			case 3:
				set = func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+narrow) }
			case 4:
				set = func(r *http.Request) { r.Header.Set("Authorization", "Bearer sk-x"); r.Header.Set("X-Api-Key", key) }
			case 5:
				set = func(r *http.Request) { r.Header.Set("X-Api-Key", "sk-x"); r.SetBasicAuth("x", narrow) }
			case 6:
				set = func(r *http.Request) { r.Header.Set("Api-Key", key); r.SetBasicAuth("x", "y") }
			case 7:
				set = func(r *http.Request) { r.Header.Del("Authorization"); r.Header.Set("X-Goog-Api-Key", key) }
			}
			at := log.count()
			if got := status(key, "/v1/models?key="+key, set); got != http.StatusOK {
				kit.Fatal("request %d of a key got %d", i, got)
			}
			line := log.after(at)
			if strings.Contains(line, head) {
				kit.Fatal("HAProxy logs a key: %s", line)
			}
			m := regexp.MustCompile(`client=` + client + ` .* path=/v1/models .* replica=(r\d)`).FindStringSubmatch(line)
			switch {
			case m == nil:
				kit.Fatal("HAProxy logs something else: %s", line)
			case home == "":
				home = m[1]
			case home != m[1]:
				kit.Fatal("a key met %s and %s", home, m[1])
			}
		}
		served[home]++
	}
	if len(served) != len(replicas) {
		kit.Fatal("%d keys met only %v", len(keys), served)
	}
	kit.Pass("a key and those made from it meet one replica, in whichever header: %d keys, %v", len(keys), served)
}

// checkAddress: the proxy sees the client's real address, not one that the client claims.
func checkAddress() {
	for from, want := range map[string]int{client: http.StatusOK, "127.0.0.1": http.StatusForbidden, "203.0.113.9": http.StatusForbidden} {
		got := status(mint("--from", from), "/v1/models", func(r *http.Request) { r.Header.Set("X-Forwarded-For", "203.0.113.9") })
		if got != want {
			kit.Fatal("a key for %s got %d from %s", from, got, client)
		}
	}
	kit.Pass("a client's address is its own, whatever it says")
}
