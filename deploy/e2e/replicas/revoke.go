//go:build unix

package main

import (
	"net/http"
	"slices"
	"time"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
)

// checkRevoke: a revocation cuts requests with the key, and with keys made from it, and no
// others.
func checkRevoke() {
	secret := secretPath()
	victim, other := mint(secret), mint(secret)
	narrowed := restrict(victim)
	for _, address := range everywhere() {
		kit.Must(sse(3).with(narrowed).to(address).whole(), "a narrowed key at %s", address)
		if got := sse(3).of("qwen3:8b").with(narrowed).to(address).finished(); got.status != http.StatusForbidden {
			kit.Fatal("a key for llama3.2 alone got %s for another model", got)
		}
	}

	doomed, spared, waiting := run(victim, narrowed, other)
	kit.Command("revoke", "--revocations", revocations(), "--reason", "check", victim)
	revoked := time.Now()
	cut := map[string][]time.Duration{}
	events := 0
	var last time.Duration
	for _, a := range slices.Concat(doomed, waiting) {
		if !a.overBy(revoked.Add(bound)) {
			kit.Fatal("%s after the revocation a request of the key still ran: %s", bound, a)
		}
		last = max(last, a.ended.Sub(revoked))
	}
	for _, a := range spared {
		if a.over() {
			kit.Fatal("a stream of another key ended with those of the revoked one: %s", a)
		}
	}
	for _, a := range doomed {
		cut[a.replica] = append(cut[a.replica], a.ended.Sub(revoked))
		kit.Must(a.broken(), "a stream of a revoked key")
		if a.told() {
			events++
		}
	}
	for _, a := range waiting {
		if a.status != http.StatusUnauthorized {
			kit.Fatal("a request that waited when its key was revoked got %s", a)
		}
	}
	kit.Pass("revoked: all %d streams of the key broke off within %s, %d of them with an error event; what waited got 401", len(doomed), kit.Seconds(last), events)
	for _, r := range replicas {
		took := cut[r.name]
		kit.Note("%s: %d streams cut %s to %s after the command had returned", r.name, len(took), kit.Seconds(slices.Min(took)), kit.Seconds(slices.Max(took)))
	}

	for _, address := range everywhere() {
		refused(sse(3).with(victim), address, "a revoked key", wasRevoked)
	}
	kit.Pass("the revoked key gets 401 on each replica and through HAProxy")
	late := restrict(victim)
	for _, address := range everywhere() {
		refused(sse(3).with(narrowed), address, "a key made from the revoked one before", wasRevoked)
		refused(sse(3).with(late), address, "a key made from the revoked one since", wasRevoked)
	}
	kit.Pass("so do keys narrowed from it, before and since")

	for _, a := range spared {
		kit.Must(a.whole(), "a stream of another key on %s", a.replica)
		kit.Must(a.spread(slowly), "a stream through HAProxy")
	}
	kit.Pass("all %d streams of another key came to their end, chunk by chunk through HAProxy", len(spared))

	for _, r := range replicas {
		r.countsRevoked(len(cut[r.name]))
	}
	kit.Pass("the metrics of each replica tell of as many revoked streams, and of the same list")
}

// run starts requests with the key to be revoked and with others: streams that send, streams
// that are silent, and requests that wait for their answer.
func run(victim, narrowed, other string) (doomed, spared, waiting []*answer) {
	for _, q := range []question{sse(0).slow(), ndjson(0).slow()} {
		doomed = append(doomed, q.with(victim).through()...)
		spared = append(spared, q.with(other).through()...)
	}
	for _, r := range replicas {
		doomed = append(doomed,
			sse(0).of("hang-mid").with(victim).to(r.address),
			ndjson(0).slow().with(narrowed).to(r.address))
		waiting = append(waiting, sse(0).of("hang").with(victim).to(r.address))
	}
	for _, a := range slices.Concat(doomed, spared) {
		<-a.headed
		if a.status != http.StatusOK {
			kit.Fatal("a stream got %s", a.finished())
		}
		kit.Await("the second chunk of a stream", func() bool { return a.reads.Load() >= 2 || a.over() })
	}
	kit.Await("the requests that wait for their answer", func() bool {
		for _, r := range replicas {
			if page := r.scrape(); page.Sum("ollama_proxy_in_flight_requests") != page.Sum("ollama_proxy_active_streams")+1 {
				return false
			}
		}
		return true
	})
	for _, a := range slices.Concat(doomed, spared, waiting) {
		if a.over() {
			kit.Fatal("before anything was revoked there was %s", a)
		}
	}
	return doomed, spared, waiting
}

// countsRevoked ends the program unless the replica's metrics have n streams that were cut, and
// the same hash of the list as those of the first replica.
func (r *replica) countsRevoked(n int) {
	kit.Await("the cut streams in the metrics of "+r.name, func() bool {
		return r.scrape().Sum("ollama_proxy_streams_total", `outcome="revoked"`) == float64(n)
	})
	if page := r.scrape(); page.One("ollama_proxy_revocations") != "1" || page.One("ollama_proxy_revocations_hash") != replicas[0].scrape().One("ollama_proxy_revocations_hash") {
		kit.Fatal("%s has another list than %s", r.name, replicas[0].name)
	}
}
