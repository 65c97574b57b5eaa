//go:build unix

package main

import (
	"net/http"
	"path/filepath"
	"slices"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
)

// checkRotation replaces a secret while the replicas serve.
func checkRotation() {
	file, text := secretPath(), kit.ReadFile(secretPath())
	next := kit.Command("secret")
	both := next + "\n" + text
	first, ahead := replicas[:2], replicas[2]
	fingerprint := ahead.fingerprint()
	agree := func() bool {
		return !slices.ContainsFunc(replicas, func(r *replica) bool {
			return r.fingerprint() != ahead.fingerprint()
		})
	}
	if !agree() {
		kit.Fatal("the fingerprints of one secret differ")
	}
	old := mint(file)
	through := sse(0).slow().with(old).through()

	// One replica gets a copy of its own instead of a link to the file.
	replace(filepath.Join(kit.Dir, "ahead"), both)
	relink(ahead.secret, "ahead")
	took := kit.AwaitWithin(bound, "one replica to take a new secret", func() bool { return ahead.fingerprint() != fingerprint })
	for _, r := range first {
		if r.fingerprint() != fingerprint {
			kit.Fatal("%s has a new fingerprint and the old secret", r.name)
		}
	}
	young := mint(ahead.secret)
	kit.Must(sse(3).with(young).to(ahead.address).whole(), "a key of the new secret on %s", ahead.name)
	kit.Must(sse(3).with(old).to(ahead.address).whole(), "a key of the old secret on %s", ahead.name)
	for _, r := range first {
		refused(sse(3).with(young), r.address, "a key of a secret that the replica lacks", invalid)
	}
	kit.Pass("secret_fingerprint tells the one replica that has a new secret from the two that have not (%s)", kit.Seconds(took))

	replace(file, both)
	relink(ahead.secret, filepath.Base(file))
	took = kit.AwaitWithin(bound, "all to take the new secret", agree)
	minted := mint(file)
	for _, address := range everywhere() {
		for _, key := range []string{old, young, minted} {
			kit.Must(sse(3).with(key).to(address).whole(), "a key while there are two secrets, at %s", address)
		}
	}
	if !agree() || ahead.fingerprint() == fingerprint {
		kit.Fatal("the fingerprints do not agree on the new secrets")
	}
	for _, a := range through {
		kit.Must(a.whole(), "a stream that ran while a secret was added")
	}
	kit.Pass("new secret first: old and new keys work everywhere (%s), fingerprints agree, streams went on", kit.Seconds(took))

	doomed := sse(0).slow().with(old).through()
	spared := ndjson(0).slow().with(minted).through()
	replace(file, next+"\n")
	took = kit.AwaitWithin(bound, "keys of the old secret to get 401 everywhere", func() bool {
		for _, address := range everywhere() {
			if sse(3).with(old).to(address).finished().status != http.StatusUnauthorized {
				return false
			}
		}
		return true
	})
	for range 3 { // through HAProxy, once more on each
		refused(sse(3).with(old), haproxy, "a key of a secret that was dropped", invalid)
	}
	for _, address := range everywhere() {
		kit.Must(sse(3).with(young).to(address).whole(), "a key of the new secret at %s", address)
	}
	for _, a := range doomed {
		kit.Must(a.broken(), "a stream of a key whose secret was dropped")
	}
	for _, a := range spared {
		kit.Must(a.whole(), "a stream of the new secret while the old one was dropped")
	}
	if !agree() {
		kit.Fatal("the fingerprints do not agree once the old secret is gone")
	}
	kit.Pass("old secret dropped: its keys get 401 everywhere (%s) and their streams broke off; the new one's went on", kit.Seconds(took))
}
