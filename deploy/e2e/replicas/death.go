//go:build unix

package main

import (
	"net/http"
	"time"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
)

// mortal is the index of the replica that is killed.
const mortal = "r2"

// checkDeath: under load a replica is killed and replaced.
func checkDeath() {
	dying := replicas[1]
	l := newLoad(mint(secretPath()))
	kit.Await("load before the death", func() bool { return l.wholeSince(kit.Began, "") >= 3*workers })
	before := redispatched()
	for _, a := range sse(0).slow().with(l.key).through() {
		l.take(a)
	}
	for range 2 * len(replicas) {
		l.take(atOnce(0).with(l.key).to(haproxy))
	}
	var streams, waiting float64
	kit.Await("streams and waiting requests on "+dying.name, func() bool {
		page := dying.scrape()
		streams = page.Sum("ollama_proxy_active_streams")
		waiting = page.Sum("ollama_proxy_in_flight_requests") - streams
		return streams >= 2 && waiting >= 2
	})
	killing := time.Now()
	dying.Kill()
	dead := time.Now()
	kit.Await("HAProxy to miss "+dying.name, func() bool { return !up(dying) })
	missed := time.Since(dead)
	kit.Await("load on the others", func() bool { return l.wholeSince(dead, "") >= workers })

	restarting := time.Now()
	dying.start()
	kit.Await("the new "+dying.name, func() bool { return dying.ready() && up(dying) })
	returned := time.Now()
	kit.Await("load on the new "+dying.name, func() bool { return l.wholeSince(returned, dying.name) >= workers })
	l.end()

	lost := 0
	for _, a := range l.failed {
		switch {
		case a.replica != dying.name || !a.asked.Before(dead) || a.ended.Before(killing) || a.ended.After(restarting):
			kit.Fatal("%s was lost that did not run on %s when it died: %s", a.q.name, dying.name, a)
		case a.status != http.StatusOK:
			kit.Fatal("%s got %s", a.q.name, a)
		}
		kit.Must(a.broken(), "a stream on %s when it died", dying.name)
		lost++
	}
	moved := redispatched() - before
	if lost == 0 || moved == 0 {
		kit.Fatal("the death of %s hit nothing: %d streams broke off, %.0f requests went to another replica", dying.name, lost, moved)
	}
	kit.Pass("%s killed under load: %d streams that ran on it broke off, %.0f requests were sent on to another replica, nothing else failed",
		dying.name, lost, moved)
	kit.Note("its metrics had just told of %.0f streams and %.0f requests without an answer; HAProxy missed it after %s", streams, waiting, kit.Seconds(missed))
	for _, r := range replicas {
		kit.Note("%s: %d whole answers, %d of them since %s was back", r.name, l.wholeSince(kit.Began, r.name), l.wholeSince(returned, r.name), dying.name)
	}
	for _, r := range replicas {
		if l.wholeSince(returned, r.name) == 0 {
			kit.Fatal("%s had no part in the load", r.name)
		}
	}
	kit.Pass("a new %s on the same ports serves again", dying.name)
}
