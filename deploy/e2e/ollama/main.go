// Command guides is an Ollama for .ci/guides: the stand-in, at an address.
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
