// Command ollama serves the stand-in for Ollama on the address in its argument. .ci/guides
// uses it in place of Ollama.
package main

import (
	"log"
	"net/http"
	"os"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

func main() {
	log.Fatal(http.ListenAndServe(os.Args[1], standin.New(standin.Options{Pace: 20 * time.Millisecond})))
}
