//go:build unix

// Command replicas checks that three replicas behind HAProxy act as one: keys minted offline,
// revocations and new secrets are valid on all of them without a restart, and when one dies,
// only the requests on it fail.
//
// .ci/replicas runs it with a directory that contains the built ollama-proxy. It exits with
// status 1 at the first failure. The processes that it has started are ended by
// .ci/replicas.
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

const (
	interval = time.Second            // --reload-interval
	bound    = interval + time.Second // within which a revocation must cut streams
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
		kit.Fatal("run .ci/replicas instead")
	}
	kit.Dir = os.Args[1]
	start()
	checkMint()
	checkRevoke()
	checkDeath()
	checkRotation()
	for _, r := range replicas {
		if r.starts != 1 && r.name != mortal {
			kit.Fatal("%s was restarted", r.name)
		}
	}
	fmt.Printf("all held, after %s\n", kit.Seconds(time.Since(kit.Began)))
}

// start starts Ollama, three replicas and HAProxy.
func start() {
	quick, slow := standin.New(standin.Options{Pace: pace}), standin.New(standin.Options{Pace: slowly})
	ollama = kit.Listen("127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(slowHeader) != "" {
			slow.ServeHTTP(w, r)
			return
		}
		quick.ServeHTTP(w, r)
	}))

	replace(secretPath(), kit.Command("secret")+"\n")
	replace(revocations(), "# revoked keys\n")
	var servers strings.Builder
	for i := range 3 {
		r := &replica{name: fmt.Sprintf("r%d", i+1), address: kit.FreeAddress(), metrics: kit.FreeAddress(), secret: secretPath()}
		if i == 2 { // so that it can be given another
			r.secret = filepath.Join(kit.Dir, "secret-of-"+r.name)
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
	haproxy, stats = kit.FreeAddress(), kit.FreeAddress()
	file := filepath.Join(kit.Dir, "haproxy.cfg")
	replace(file, fmt.Sprintf(haproxyConfig, haproxy, servers.String(), stats))
	kit.Start("haproxy", nil, "haproxy", "-db", "-f", file)
	kit.Await("three replicas behind HAProxy", func() bool {
		return !slices.ContainsFunc(replicas, func(r *replica) bool { return !r.ready() || !up(r) })
	})
	kit.Note("three replicas behind HAProxy are ready after %s", kit.Seconds(time.Since(kit.Began)))
}

// checkMint: a key that was minted offline is valid at once.
func checkMint() {
	key := mint(secretPath())
	q := sse(4).with(key)
	for _, r := range replicas {
		kit.Must(q.to(r.address).whole(), "a new key on %s", r.name)
	}
	for _, a := range q.through() {
		kit.Must(a.whole(), "a new key through HAProxy on %s", a.replica)
	}
	forged := key[:len(key)-43] + strings.Repeat("A", 43)
	for _, address := range everywhere() {
		refused(sse(4).with(forged), address, "a forged key", invalid)
	}
	kit.Pass("a key minted offline works at once on each replica, directly and through HAProxy")
}

func secretPath() string  { return filepath.Join(kit.Dir, "secret") }
func revocations() string { return filepath.Join(kit.Dir, "revocations") }

func mint(secret string) string  { return kit.Command("mint", "--secret-file", secret) }
func restrict(key string) string { return kit.Command("restrict", "--models", model, key) }

// replace replaces a file atomically.
func replace(path, text string) {
	kit.WriteFile(path+".new", text)
	kit.Must(os.Rename(path+".new", path), "renaming")
}

// relink replaces a symbolic link atomically.
func relink(path, target string) {
	kit.Must(os.Symlink(target, path+".new"), "linking")
	kit.Must(os.Rename(path+".new", path), "renaming")
}
