//go:build unix

package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
)

const (
	// bombClients is how many connections send bodies that take long to decode, all with
	// one key.
	bombClients = 200

	// maxCompressedWait limits the median time of another key's compressed requests
	// meanwhile: a few turns of the decoder, on a busy machine.
	maxCompressedWait = 500 * time.Millisecond
)

// checkBombs has one key send as many decompression bombs as it can. The small compressed
// requests of another key must not wait for all of them.
func checkBombs(upstream string) {
	greedyKey, modest := mint(), mint()
	p := launch(-15, "proxy", "--upstream", upstream)
	calm := timeCompressed(p.Address, modest)
	kind := attacks[slices.IndexFunc(attacks, func(a attacker) bool { return a.name == "bombs" })]
	kind.conns = bombClients
	r := startAttack(kind, p.Address, greedyKey)
	r.await("ready")
	hit := timeCompressed(p.Address, modest)
	said := r.end()
	kit.Pass("%-24s a compressed request of another key takes %s > %s, at most %s > %s; %s", "bombs under one key", milli(quantile(calm, 50)), milli(quantile(hit, 50)), milli(slices.Max(calm)), milli(slices.Max(hit)), said)
	if quantile(hit, 50) > maxCompressedWait {
		kit.Fatal("another key's compressed requests wait")
	}
	p.Stop()
}

// timeCompressed sends small compressed requests, one after the other, and returns how long
// each takes.
func timeCompressed(address, key string) (took []time.Duration) {
	var body bytes.Buffer
	w, err := zstd.NewWriter(&body)
	kit.Must(err, "zstd")
	fmt.Fprint(w, `{"model":"tiny","messages":[]}`)
	kit.Must(w.Close(), "zstd")
	for range 30 {
		r, err := http.NewRequest("POST", "http://"+address+chatRoute, bytes.NewReader(body.Bytes()))
		kit.Must(err, "a request")
		r.Header.Set("Authorization", "Bearer "+key)
		r.Header.Set("Content-Encoding", "zstd")
		from := time.Now()
		res, err := http.DefaultClient.Do(r)
		kit.Must(err, "a compressed request")
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			kit.Fatal("a compressed request gets %d", res.StatusCode)
		}
		took = append(took, time.Since(from))
	}
	return took
}
