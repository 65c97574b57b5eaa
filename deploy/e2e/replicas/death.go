//go:build ignore

package main

import (
	"net/http"
	"time"
)

// mortal is the replica that dies.
const mortal = "r2"

// checkDeath: under load a replica is killed and replaced.
func checkDeath() {
	dying := replicas[1]
	l := newLoad(mint(secretPath()))
	await("load before the death", func() bool { return l.wholeSince(began, "") >= 3*workers })
	before := redispatched()
	for _, a := range sse(0).slow().with(l.key).through() {
		l.take(a)
	}
	for range 2 * len(replicas) {
		l.take(atOnce(0).with(l.key).to(haproxy))
	}
	var streams, waiting float64
	await("streams and waiting requests on "+dying.name, func() bool {
		page := dying.scrape()
		streams = page.sum("ollama_proxy_active_streams")
		waiting = page.sum("ollama_proxy_in_flight_requests") - streams
		return streams >= 2 && waiting >= 2
	})
	killing := time.Now()
	dying.kill()
	dead := time.Now()
	await("HAProxy to miss "+dying.name, func() bool { return !up(dying) })
	missed := time.Since(dead)
	await("load on the others", func() bool { return l.wholeSince(dead, "") >= workers })

	restarting := time.Now()
	dying.start()
	await("the new "+dying.name, func() bool { return dying.ready() && up(dying) })
	returned := time.Now()
	await("load on the new "+dying.name, func() bool { return l.wholeSince(returned, dying.name) >= workers })
	l.end()

	lost := 0
	for _, a := range l.failed {
		switch {
		case a.replica != dying.name || !a.asked.Before(dead) || a.ended.Before(killing) || a.ended.After(restarting):
			fatal("%s was lost that did not run on %s when it died: %s", a.q.name, dying.name, a)
		case a.status != http.StatusOK:
			fatal("%s got %s", a.q.name, a)
		}
		must(a.broken(), "a stream on %s when it died", dying.name)
		lost++
	}
	moved := redispatched() - before
	if lost == 0 || moved == 0 {
		fatal("the death of %s hit nothing: %d streams broke off, %.0f requests went to another replica", dying.name, lost, moved)
	}
	pass("%s killed under load: %d streams that ran on it broke off, %.0f requests were sent on to another replica, nothing else failed",
		dying.name, lost, moved)
	note("its metrics had just told of %.0f streams and %.0f requests without an answer; HAProxy missed it after %s", streams, waiting, seconds(missed))
	for _, r := range replicas {
		note("%s: %d whole answers, %d of them since %s was back", r.name, l.wholeSince(began, r.name), l.wholeSince(returned, r.name), dying.name)
	}
	for _, r := range replicas {
		if l.wholeSince(returned, r.name) == 0 {
			fatal("%s had no part in the load", r.name)
		}
	}
	pass("a new %s on the same ports serves again", dying.name)
}
