//go:build unix

package main

import (
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

// start starts two replicas. The first has two Ollamas. The second has another set of secrets, and no
// Ollama before late is called.
func start() (late func()) {
	ollama := startOllama("127.0.0.1:0")
	absent := kit.FreeAddress()
	kit.Command("secret", "--out", path("secret-1"))
	kit.WriteFile(path("secret-2"), kit.ReadFile(path("secret-1"))+kit.Command("secret")+"\n")
	for i, upstream := range []string{ollama, absent} {
		n := strconv.Itoa(i + 1)
		kit.WriteFile(path("revocations-"+n), "# revoked keys\n")
		replicas, metrics = append(replicas, kit.FreeAddress()), append(metrics, kit.FreeAddress())
		if i == 0 {
			upstream += ",http://" + startOllama("127.0.0.1:0") // a request that one breaks off is retried on the other
		}
		kit.Start("replica-"+n, nil, path("ollama-proxy"), "serve", "--listen", replicas[i], "--metrics-listen", metrics[i],
			"--upstream", "http://"+upstream, "--secret-file", path("secret-"+n), "--revocations", path("revocations-"+n),
			"--tls-cert", path("tls.crt"), "--tls-key", path("tls.key"), "--metrics-per-key", "--native-histograms",
			"--reload-interval", "200ms", "--first-byte-timeout", "1s", "--stall-timeout", "1s", "--max-body", "16KiB", "--max-in-flight", "60")
	}
	return func() { startOllama(absent) }
}

// startOllama starts a stand-in for Ollama.
func startOllama(address string) string {
	return kit.Listen(address, standin.New(standin.Options{Pace: pace}))
}

// damage makes the revocation lists of the replicas differ, and that of the second invalid. It
// cuts a stream on the first.
func damage() {
	doomed := mint()
	res := ask(0, doomed, "POST", "/api/chat", `{"model":"llama3.2",`+chat+`}`)
	for res == nil || res.StatusCode != http.StatusOK { // the replica is full now and then
		time.Sleep(100 * time.Millisecond)
		res = ask(0, doomed, "POST", "/api/chat", `{"model":"llama3.2",`+chat+`}`)
	}
	kit.Command("revoke", "--revocations", path("revocations-1"), doomed)
	if _, err := io.Copy(io.Discard, res.Body); err == nil {
		kit.Fatal("a stream outlived its key")
	}
	file, err := os.OpenFile(path("revocations-2"), os.O_APPEND|os.O_WRONLY, 0)
	kit.Must(err, "the list")
	defer file.Close()
	_, err = io.WriteString(file, "this is no key\n")
	kit.Must(err, "the list")
}
