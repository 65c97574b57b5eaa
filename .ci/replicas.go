//go:build ignore

// Checks that three replicas behind one HAProxy act as one: keys minted offline,
// revocations and new secrets count on all of them without a restart, and the
// death of one costs only what ran on it. It is run by .ci/replicas, with a
// directory that holds the built ollama-proxy, and exits 1 at the first thing
// that is not as it should be. Whoever runs it ends what it has started.
package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

const (
	interval = time.Second            // --reload-interval
	bound    = interval + time.Second // for a revocation to cut what runs
	pace     = 20 * time.Millisecond  // between two tokens of the stand-in's
	slowly   = 60 * time.Millisecond  // likewise, for streams that are to outlive the bound: 67 tokens
	workers  = 18                     // of the load
	model    = "llama3.2"
)

var (
	ollama   string // addresses
	haproxy  string
	stats    string
	replicas []*replica
)

func main() {
	if len(os.Args) != 2 {
		fatal("run .ci/replicas instead")
	}
	dir = os.Args[1]
	start()
	checkMint()
	checkRevoke()
	checkDeath()
	checkRotation()
	for _, r := range replicas {
		if r.starts != 1 && r.name != mortal {
			fatal("%s was restarted", r.name)
		}
	}
	fmt.Printf("all held, after %s\n", seconds(time.Since(began)))
}

// checkMint: a key that was made offline counts at once.
func checkMint() {
	key := mint(secretPath())
	q := sse(4).with(key)
	for _, r := range replicas {
		must(q.to(r.address).whole(), "a new key on %s", r.name)
	}
	for _, a := range q.through() {
		must(a.whole(), "a new key through HAProxy on %s", a.replica)
	}
	forged := key[:len(key)-43] + strings.Repeat("A", 43)
	for _, address := range everywhere() {
		refused(sse(4).with(forged), address, "a forged key")
	}
	pass("a key minted offline works at once on each replica, directly and through HAProxy")
}

// checkRevoke: a revocation ends what runs under the key, and under what was
// made from it, and nothing else.
func checkRevoke() {
	secret := secretPath()
	victim, other := mint(secret), mint(secret)
	narrowed := restrict(victim)
	for _, address := range everywhere() {
		must(sse(3).with(narrowed).to(address).whole(), "a narrowed key at %s", address)
		if got := sse(3).of("qwen3:8b").with(narrowed).to(address).finished(); got.status != http.StatusForbidden {
			fatal("a key for llama3.2 alone got %s for another model", got)
		}
	}

	// What flows, what is silent, and what has not begun to answer.
	var doomed, spared, waiting []*answer
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
			fatal("a stream got %s", a.finished())
		}
		await("the second chunk of a stream", func() bool { return a.reads.Load() >= 2 || a.over() })
	}
	await("the requests that wait for their answer", func() bool {
		for _, r := range replicas {
			if page := r.scrape(); page.sum("ollama_proxy_in_flight_requests") != page.sum("ollama_proxy_active_streams")+1 {
				return false
			}
		}
		return true
	})
	for _, a := range slices.Concat(doomed, spared, waiting) {
		if a.over() {
			fatal("before anything was revoked there was %s", a)
		}
	}

	command("revoke", "--revocations", revocations(), "--reason", "check", victim)
	revoked := time.Now()
	cut := map[string][]time.Duration{}
	events := 0
	var last time.Duration
	for _, a := range slices.Concat(doomed, waiting) {
		if !a.overBy(revoked.Add(bound)) {
			fatal("%s after the revocation a request of the key still ran: %s", bound, a)
		}
		last = max(last, a.ended.Sub(revoked))
	}
	for _, a := range spared {
		if a.over() {
			fatal("a stream of another key ended with those of the revoked one: %s", a)
		}
	}
	for _, a := range doomed {
		cut[a.replica] = append(cut[a.replica], a.ended.Sub(revoked))
		must(a.broken(), "a stream of a revoked key")
		if a.told() {
			events++
		}
	}
	for _, a := range waiting {
		if a.status != http.StatusUnauthorized {
			fatal("a request that waited when its key was revoked got %s", a)
		}
	}
	pass("revoked: all %d streams of the key broke off within %s, %d of them with an error event; what waited got 401", len(doomed), seconds(last), events)
	for _, r := range replicas {
		took := cut[r.name]
		note("%s: %d streams cut %s to %s after the command had returned", r.name, len(took), seconds(slices.Min(took)), seconds(slices.Max(took)))
	}

	for _, address := range everywhere() {
		refused(sse(3).with(victim), address, "a revoked key")
	}
	pass("the revoked key gets 401 on each replica and through HAProxy")
	late := restrict(victim)
	for _, address := range everywhere() {
		refused(sse(3).with(narrowed), address, "a key made from the revoked one before")
		refused(sse(3).with(late), address, "a key made from the revoked one since")
	}
	pass("so do keys narrowed from it, before and since")

	for _, a := range spared {
		must(a.whole(), "a stream of another key on %s", a.replica)
		must(a.spread(slowly), "a stream through HAProxy")
	}
	pass("all %d streams of another key came to their end, chunk by chunk through HAProxy", len(spared))

	for _, r := range replicas {
		await("the cut streams in the metrics of "+r.name, func() bool {
			return r.scrape().sum("ollama_proxy_streams_total", `outcome="revoked"`) == float64(len(cut[r.name]))
		})
		if page := r.scrape(); page.one("ollama_proxy_revocations") != "1" || page.one("ollama_proxy_revocations_hash") != replicas[0].scrape().one("ollama_proxy_revocations_hash") {
			fatal("%s has another list than %s", r.name, replicas[0].name)
		}
	}
	pass("the metrics of each replica tell of as many revoked streams, and of the same list")
}

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

// checkRotation: a secret is replaced while the replicas run.
func checkRotation() {
	file, text := secretPath(), read(secretPath())
	next := command("secret")
	both := next + "\n" + text
	first, ahead := replicas[:2], replicas[2]
	fingerprint := ahead.fingerprint()
	agree := func() bool {
		return !slices.ContainsFunc(replicas, func(r *replica) bool {
			return r.fingerprint() != ahead.fingerprint()
		})
	}
	if !agree() {
		fatal("the fingerprints of one secret differ")
	}
	old := mint(file)
	through := sse(0).slow().with(old).through()

	// One replica gets a copy of its own in the place of a link to the file.
	replace(filepath.Join(dir, "ahead"), both)
	relink(ahead.secret, "ahead")
	took := awaitWithin(bound, "one replica to take a new secret", func() bool { return ahead.fingerprint() != fingerprint })
	for _, r := range first {
		if r.fingerprint() != fingerprint {
			fatal("%s has a new fingerprint and the old secret", r.name)
		}
	}
	young := mint(ahead.secret)
	must(sse(3).with(young).to(ahead.address).whole(), "a key of the new secret on %s", ahead.name)
	must(sse(3).with(old).to(ahead.address).whole(), "a key of the old secret on %s", ahead.name)
	for _, r := range first {
		refused(sse(3).with(young), r.address, "a key of a secret that the replica lacks")
	}
	pass("secret_fingerprint tells the one replica that has a new secret from the two that have not (%s)", seconds(took))

	replace(file, both)
	relink(ahead.secret, filepath.Base(file))
	took = awaitWithin(bound, "all to take the new secret", agree)
	minted := mint(file)
	for _, address := range everywhere() {
		for _, key := range []string{old, young, minted} {
			must(sse(3).with(key).to(address).whole(), "a key while there are two secrets, at %s", address)
		}
	}
	if !agree() || ahead.fingerprint() == fingerprint {
		fatal("the fingerprints do not agree on the new secrets")
	}
	for _, a := range through {
		must(a.whole(), "a stream that ran while a secret was added")
	}
	pass("new secret first: old and new keys work everywhere (%s), fingerprints agree, streams went on", seconds(took))

	doomed := sse(0).slow().with(old).through()
	spared := ndjson(0).slow().with(minted).through()
	replace(file, next+"\n")
	took = awaitWithin(bound, "keys of the old secret to get 401 everywhere", func() bool {
		for _, address := range everywhere() {
			if sse(3).with(old).to(address).finished().status != http.StatusUnauthorized {
				return false
			}
		}
		return true
	})
	for range 3 { // through HAProxy, once more on each
		refused(sse(3).with(old), haproxy, "a key of a secret that was dropped")
	}
	for _, address := range everywhere() {
		must(sse(3).with(young).to(address).whole(), "a key of the new secret at %s", address)
	}
	for _, a := range doomed {
		must(a.broken(), "a stream of a key whose secret was dropped")
	}
	for _, a := range spared {
		must(a.whole(), "a stream of the new secret while the old one was dropped")
	}
	if !agree() {
		fatal("the fingerprints do not agree once the old secret is gone")
	}
	pass("old secret dropped: its keys get 401 everywhere (%s) and their streams broke off; the new one's went on", seconds(took))
}

// A question is a request of which we know the answer.
type question struct {
	name, path, body, key string
	paced                 bool // slowly
}

const chat = `"messages":[{"role":"user","content":"Why is the sky blue?"}]`

// sse, ndjson and atOnce ask for n tokens, or for as many as there are.
func sse(n int) question {
	return question{name: "a stream of events", path: "/v1/chat/completions", body: `{"model":"` + model + `","stream":true,"max_tokens":` + strconv.Itoa(n) + `,` + chat + `}`}
}

func ndjson(n int) question {
	return question{name: "a stream of lines", path: "/api/chat", body: `{"model":"` + model + `","options":{"num_predict":` + strconv.Itoa(n) + `},` + chat + `}`}
}

func atOnce(n int) question {
	return question{name: "an answer in one piece", path: "/v1/chat/completions", body: `{"model":"` + model + `","max_tokens":` + strconv.Itoa(n) + `,` + chat + `}`}
}

func (q question) slow() question           { q.paced = true; return q }
func (q question) with(key string) question { q.key = key; return q }

func (q question) of(other string) question {
	q.body = strings.Replace(q.body, model, other, 1)
	return q
}

// An answer is what came, and when.
type answer struct {
	q      question
	asked  time.Time
	headed chan struct{} // closed when there are status and replica, or never will be
	done   chan struct{} // closed when it is over
	reads  atomic.Int64  // in which the body came

	status           int
	replica          string
	body             []byte
	first, at, ended time.Time
	err              error
}

var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2 * workers}}

// to asks at an address and does not wait for the answer.
func (q question) to(address string) *answer {
	a := &answer{q: q, asked: time.Now(), headed: make(chan struct{}), done: make(chan struct{})}
	go a.receive(address)
	return a
}

// through asks HAProxy, which takes turns, until each replica has begun to
// answer.
func (q question) through() (all []*answer) {
	hit := map[string]bool{}
	for len(hit) < len(replicas) {
		if len(all) == 3*len(replicas) {
			fatal("HAProxy asks only %d of the replicas", len(hit))
		}
		a := q.to(haproxy)
		<-a.headed
		if a.replica == "" {
			fatal("through HAProxy there was %s", a.finished())
		}
		hit[a.replica] = true
		all = append(all, a)
	}
	return all
}

func (a *answer) receive(address string) {
	defer close(a.done)
	defer func() { a.ended = time.Now() }()
	head := sync.OnceFunc(func() { close(a.headed) })
	defer head()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+a.q.path, strings.NewReader(a.q.body))
	if err != nil {
		a.err = err
		return
	}
	r.GetBody = nil // or the client would hide a failure by asking again
	r.Header.Set("Authorization", "Bearer "+a.q.key)
	if a.q.paced {
		r.Header.Set(slowHeader, "yes")
	}
	res, err := client.Do(r)
	if err != nil {
		a.err = err
		return
	}
	defer res.Body.Close()
	a.status, a.replica = res.StatusCode, res.Header.Get("X-Replica")
	for _, asked := range replicas {
		if address == asked.address {
			a.replica = asked.name
		}
	}
	head()
	buffer := make([]byte, 32<<10)
	for {
		n, err := res.Body.Read(buffer)
		if n > 0 {
			a.at = time.Now()
			if len(a.body) == 0 {
				a.first = a.at
			}
			a.body = append(a.body, buffer[:n]...)
			a.reads.Add(1)
		}
		if err == io.EOF {
			return
		}
		if err != nil {
			a.err = err
			return
		}
	}
}

// finished waits for the end, which the request's deadline bounds.
func (a *answer) finished() *answer {
	<-a.done
	return a
}

func (a *answer) over() bool {
	select {
	case <-a.done:
		return true
	default:
		return false
	}
}

// overBy waits for the end until then.
func (a *answer) overBy(then time.Time) bool {
	select {
	case <-a.done:
	case <-time.After(time.Until(then)):
	}
	return a.over() && !a.ended.After(then)
}

// String is for failures. Nothing else may be called before the end.
func (a *answer) String() string {
	<-a.done
	body := a.body
	if len(body) > 200 {
		body = body[len(body)-200:]
	}
	return fmt.Sprintf("status %d from %q, asked after %s, %s long, error %v, %d bytes to ...%q", a.status, a.replica,
		seconds(a.asked.Sub(began)), seconds(a.ended.Sub(a.asked)), a.err, len(a.body), body)
}

// volatile is what differs between two answers to the same question.
var volatile = regexp.MustCompile(`,?"(id|created|created_at|[a-z_]*duration)":("[^"]*"|\d+)`)

// whole waits for the end, and gives an error unless the answer is byte for
// byte what the stand-in itself says, but for ids and times.
func (a *answer) whole() error {
	<-a.done
	switch {
	case a.err != nil || a.status != http.StatusOK:
		return fmt.Errorf("it is not whole: %s", a)
	case !bytes.Equal(volatile.ReplaceAll(a.body, nil), reference(a.q)):
		return fmt.Errorf("it is not what was sent: %s", a)
	}
	return nil
}

// broken waits for the end, and gives an error unless the answer shows that it
// is not whole, and is right up to there.
func (a *answer) broken() error {
	<-a.done
	text := string(volatile.ReplaceAll(a.body, nil))
	for _, end := range []string{"[DONE]", `"done":true`, `"finish_reason":"`} {
		if strings.Contains(text, end) {
			return fmt.Errorf("it ended as if it were whole: %s", a)
		}
	}
	if a.err == nil {
		return fmt.Errorf("the connection was not aborted: %s", a)
	}
	if errors.Is(a.err, context.DeadlineExceeded) {
		return fmt.Errorf("it did not end: %s", a)
	}
	if i := strings.LastIndex(text, errorEvent(a.q)); i >= 0 {
		text = text[:i]
	}
	if strings.Contains(a.q.body, model) && !strings.HasPrefix(string(reference(a.q)), text) {
		return fmt.Errorf("it was wrong before it broke off: %s", a)
	}
	return nil
}

// told reports whether a broken answer says so in an event.
func (a *answer) told() bool { return bytes.Contains(a.body, []byte(errorEvent(a.q))) }

func errorEvent(q question) string {
	if q.path == "/api/chat" {
		return `{"error":`
	}
	return `data: {"error":`
}

// spread gives an error if the chunks did not come one by one, with pauses
// between them: a stream that is held back comes faster than it was sent.
func (a *answer) spread(pause time.Duration) error {
	<-a.done
	lines := bytes.Count(a.body, []byte(`"content":"`))
	if took, least := a.at.Sub(a.first), time.Duration(lines-2)*pause*4/5; took < least || int(a.reads.Load()) < lines/2 {
		return fmt.Errorf("its %d chunks came in %d reads, within %s: %s", lines, a.reads.Load(), seconds(took), a)
	}
	return nil
}

var references sync.Map

// reference is what the stand-in answers when it is asked directly, without
// what is volatile.
func reference(q question) []byte {
	if known, ok := references.Load(q.path + q.body); ok {
		return known.([]byte)
	}
	plain := q
	plain.paced, plain.key = false, ""
	a := plain.to(ollama).finished()
	if a.err != nil || a.status != http.StatusOK {
		fatal("the stand-in itself answers with %s", a)
	}
	known, _ := references.LoadOrStore(q.path+q.body, volatile.ReplaceAll(a.body, nil))
	return known.([]byte)
}

// refused fails unless the request gets the 401 that says nothing.
func refused(q question, address, what string) {
	a := q.to(address).finished()
	if a.err != nil || a.status != http.StatusUnauthorized || !bytes.Contains(a.body, []byte("missing or invalid API key")) {
		fatal("%s at %s got %s", what, address, a)
	}
}

// load asks through HAProxy all the time.
type load struct {
	key  string
	stop chan struct{}
	wait sync.WaitGroup

	mu     sync.Mutex
	whole  []*answer
	failed []*answer
}

func newLoad(key string) *load {
	l := &load{key: key, stop: make(chan struct{})}
	for i := range workers {
		// Of different lengths, so that they do not begin and end together.
		kinds := []question{sse(20 + i).with(key), ndjson(20 + i).with(key), atOnce(40 + i).with(key)}
		l.wait.Go(func() {
			for n := i; ; n++ {
				select {
				case <-l.stop:
					return
				default:
					l.add(kinds[n%len(kinds)].to(haproxy).finished())
				}
			}
		})
	}
	return l
}

// take adds an answer to the load when it is over.
func (l *load) take(a *answer) { l.wait.Go(func() { l.add(a.finished()) }) }

func (l *load) add(a *answer) {
	err := a.whole()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.whole = append(l.whole, a)
		return
	}
	l.failed = append(l.failed, a)
	if len(l.failed) > 4*workers {
		fatal("the load fails: %s", a)
	}
}

// wholeSince counts the answers to what was asked since then, from one replica
// or, if the name is empty, from all.
func (l *load) wholeSince(then time.Time, name string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.whole {
		if a.asked.After(then) && (name == "" || a.replica == name) {
			n++
		}
	}
	return n
}

func (l *load) end() {
	close(l.stop)
	l.wait.Wait()
}

// A replica is one ollama-proxy serve. Its address, its metrics' address and
// its secret file outlive the process.
type replica struct {
	name, address, metrics, secret string

	starts int
	*process
}

// start runs the proxy as a process of its own.
func (r *replica) start() {
	r.starts++
	r.process = begin(r.name, nil, filepath.Join(dir, "ollama-proxy"), "serve",
		"--listen", r.address, "--metrics-listen", r.metrics, "--upstream", "http://"+ollama,
		"--secret-file", r.secret, "--revocations", revocations(), "--reload-interval", interval.String())
}

func (r *replica) ready() bool {
	status, _ := fetch("http://" + r.metrics + "/readyz")
	return status == http.StatusOK
}

// scrape gets the metrics as they are at one moment.
func (r *replica) scrape() scrape { return scrapeOf(r.metrics) }

func (r *replica) fingerprint() string { return r.scrape().one("ollama_proxy_secret_fingerprint") }

// one is the value of a metric without labels, as it stands.
func (s scrape) one(name string) string {
	values := s.values(name)
	if len(values) != 1 {
		fatal("the metrics have %d values of %s", len(values), name)
	}
	return values[0]
}

// slowHeader passes through the proxy and tells the stand-in to take its time.
const slowHeader = "X-Slowly"

// start runs everything: Ollama, three replicas, HAProxy.
func start() {
	quick, slow := standin.New(standin.Options{Pace: pace}), standin.New(standin.Options{Pace: slowly})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err, "the stand-in")
	ollama = listener.Addr().String()
	go http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(slowHeader) != "" {
			slow.ServeHTTP(w, r)
			return
		}
		quick.ServeHTTP(w, r)
	}))

	replace(secretPath(), command("secret")+"\n")
	replace(revocations(), "# revoked keys\n")
	var servers strings.Builder
	for i := range 3 {
		r := &replica{name: fmt.Sprintf("r%d", i+1), address: freeAddress(), metrics: freeAddress(), secret: secretPath()}
		if i == 2 { // so that it can be given another
			r.secret = filepath.Join(dir, "secret-of-"+r.name)
			relink(r.secret, filepath.Base(secretPath()))
		}
		replicas = append(replicas, r)
		if i > 0 {
			time.Sleep(interval / 3) // so that they do not reload at the same moments
		}
		r.start()
		_, port, _ := net.SplitHostPort(r.metrics)
		fmt.Fprintf(&servers, "  server %s %s check port %s\n", r.name, r.address, port)
	}
	haproxy, stats = freeAddress(), freeAddress()
	file := filepath.Join(dir, "haproxy.cfg")
	replace(file, fmt.Sprintf(haproxyConfig, haproxy, servers.String(), stats))
	begin("haproxy", nil, "haproxy", "-db", "-f", file)
	await("three replicas behind HAProxy", func() bool {
		return !slices.ContainsFunc(replicas, func(r *replica) bool { return !r.ready() || !up(r) })
	})
	note("three replicas behind HAProxy are ready after %s", seconds(time.Since(began)))
}

// A request of which the client has seen nothing yet is sent to another replica
// when its own dies. "option http-no-delay" lets each chunk pass at once.
const haproxyConfig = `
global
  maxconn 500
  zero-warning
defaults
  mode http
  option http-no-delay
  timeout connect 1s
  timeout client 30s
  timeout server 30s
frontend front
  bind %s
  http-response set-header X-Replica %%s
  default_backend replicas
backend replicas
  balance roundrobin
  retries 3
  option redispatch 1
  retry-on conn-failure empty-response junk-response
  option httpchk GET /readyz
  default-server inter 200ms fall 2 rise 1
%sfrontend stats
  bind %s
  stats enable
  stats uri /
`

// up reports whether HAProxy has found the replica in health.
func up(r *replica) bool {
	row := proxyStats(r.name)
	return row["status"] == "UP" && row["check_status"] == "L7OK"
}

// redispatched is how many requests HAProxy has sent to another replica than
// the first.
func redispatched() float64 {
	n, err := strconv.ParseFloat(proxyStats("BACKEND")["wredis"], 64)
	must(err, "HAProxy's statistics")
	return n
}

// proxyStats is what HAProxy says of one server, or of them all.
func proxyStats(server string) map[string]string {
	status, page := fetch("http://" + stats + "/;csv")
	if status != http.StatusOK {
		return nil // not there yet
	}
	rows, err := csv.NewReader(strings.NewReader(page)).ReadAll()
	must(err, "HAProxy's statistics")
	for _, row := range rows {
		if row[0] == "replicas" && row[1] == server {
			found := map[string]string{}
			for i, name := range rows[0] {
				found[name] = row[i]
			}
			return found
		}
	}
	return nil
}

func everywhere() []string {
	return []string{replicas[0].address, replicas[1].address, replicas[2].address, haproxy}
}

func secretPath() string  { return filepath.Join(dir, "secret") }
func revocations() string { return filepath.Join(dir, "revocations") }

func mint(secret string) string  { return command("mint", "--secret-file", secret) }
func restrict(key string) string { return command("restrict", "--models", model, key) }

// replace puts a file in the place of another in one step.
func replace(path, text string) {
	write(path+".new", text)
	must(os.Rename(path+".new", path), "renaming")
}

// relink does so with a symbolic link.
func relink(path, target string) {
	must(os.Symlink(target, path+".new"), "linking")
	must(os.Rename(path+".new", path), "renaming")
}
