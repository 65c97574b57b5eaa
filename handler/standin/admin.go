package standin

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// In a demo anyone may have the ADMIN key, so what its holders can store is bounded.
const (
	maxInstalled = 1000
	maxBlobs     = 10_000
)

type progress struct {
	Status    string `json:"status"`
	Digest    string `json:"digest,omitempty"`
	Total     int64  `json:"total,omitempty"`
	Completed int64  `json:"completed,omitempty"`
}

const success = "success"

// report streams the steps of an operation, or sends only the last one if the client wants no stream. If failed is not
// empty, it is the error with which the operation ends: a last line of the stream, or an answer with status 500.
func (x *exchange) report(failed string, steps ...progress) {
	switch x.fault {
	case "repeat":
		steps = slices.DeleteFunc(steps, func(p progress) bool { return p.Status == success })
	case "runner-killed", "error-event":
		steps, failed = steps[:1], killedMessage
	}
	if x.query.Stream != nil && !*x.query.Stream {
		if failed != "" {
			x.fail(http.StatusInternalServerError, failed)
			return
		}
		x.reply(http.StatusOK, steps[len(steps)-1])
		return
	}

	x.w.Header().Set("Content-Type", "application/x-ndjson")
	s := &stream{x: x}
	for i, p := range steps {
		if i > 0 && !x.pause(1) {
			return
		}
		if !s.send(failed == "" && i == len(steps)-1, ndjson(p)) {
			return
		}
	}
	if failed != "" {
		s.send(true, ndjson(map[string]string{"error": failed}))
	}
}

// named returns a handler for requests that must name a model: it refuses those whose name Ollama does not accept.
func named(serve func(x *exchange, name string)) func(*exchange) {
	return func(x *exchange) {
		switch name := x.model(); {
		case x.bodyErr != nil:
			x.fail(http.StatusBadRequest, x.bodyErr.Error())
		case name == "":
			x.fail(http.StatusBadRequest, "invalid model name")
		default:
			serve(x, name)
		}
	}
}

// pull succeeds for the models that the stand-in was made with, deleted or not, and fails for all others.
func (x *exchange) pull(name string) {
	manifest := progress{Status: "pulling manifest"}
	if x.fault == "" && (!slices.Contains(x.o.registry, name) || !x.o.install(name, x.o.isRemote(name))) {
		x.report("pull model manifest: file does not exist", manifest)
		return
	}
	steps := []progress{manifest}
	l := describe(name)
	for quarter := range int64(5) {
		steps = append(steps, progress{"pulling " + l.Digest[:12], "sha256:" + l.Digest, l.Size, l.Size / 4 * quarter})
	}
	x.report("", append(steps,
		progress{Status: "verifying sha256 digest"}, progress{Status: "writing manifest"}, progress{Status: success})...)
}

func (x *exchange) push(name string) {
	manifest := progress{Status: "retrieving manifest"}
	if x.fault == "" && !x.o.has(name) {
		x.report("file does not exist", manifest)
		return
	}
	l := describe(name)
	x.report("", manifest, progress{"pushing " + l.Digest[:12], "sha256:" + l.Digest, l.Size, l.Size},
		progress{Status: "pushing manifest"}, progress{Status: success})
}

func (x *exchange) create(name string) {
	if x.fault == "" && x.query.noSource {
		x.fail(http.StatusBadRequest, "neither 'from' or 'files' was specified")
		return
	}
	if x.fault == "" && !x.o.install(name, x.query.remote) {
		x.report("no space left on device", progress{Status: "gathering model components"})
		return
	}
	x.report("", progress{Status: "gathering model components"}, progress{Status: "using existing layer"},
		progress{Status: "writing manifest"}, progress{Status: success})
}

func (x *exchange) copy(source string) {
	destination := Stored(x.query.destination)
	switch {
	case destination == "":
		x.fail(http.StatusBadRequest, fmt.Sprintf("destination %q is invalid", x.query.destination))
	case !x.o.has(source):
		x.fail(http.StatusNotFound, fmt.Sprintf("model %q not found", x.query.Model))
	case !x.o.install(destination, x.o.isRemote(source)):
		x.fail(http.StatusInternalServerError, "no space left on device")
	default:
		x.empty(http.StatusOK)
	}
}

func (x *exchange) remove(name string) {
	x.o.mu.Lock()
	i := slices.Index(x.o.installed, name)
	if i >= 0 {
		x.o.installed = slices.Delete(x.o.installed, i, i+1)
		delete(x.o.loaded, name)
		delete(x.o.remote, name)
	}
	x.o.mu.Unlock()
	if i < 0 {
		x.fail(http.StatusNotFound, "model '"+x.query.Model+"' not found")
		return
	}
	x.empty(http.StatusOK)
}

// install adds a model to the store, and reports whether there was room.
func (o *Ollama) install(name string, remote bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !slices.Contains(o.installed, name) {
		if len(o.installed) >= maxInstalled {
			return false
		}
		o.installed = append(o.installed, name)
	}
	delete(o.remote, name)
	if remote {
		o.remote[name] = true
	}
	return true
}

// digest returns the digest in the path, in either of Ollama's two spellings. If there is none, it answers 400.
func (x *exchange) digest() (sum [32]byte, ok bool) {
	_, text, _ := cutLast(x.r.URL.Path, "/")
	hexed, ok := strings.CutPrefix(strings.Replace(text, "sha256-", "sha256:", 1), "sha256:")
	if b, err := hex.DecodeString(hexed); ok && err == nil && len(b) == len(sum) {
		return [32]byte(b), true
	}
	x.fail(http.StatusBadRequest, "invalid digest format")
	return sum, false
}

func (x *exchange) hasBlob() {
	sum, ok := x.digest()
	if !ok {
		return
	}
	x.o.mu.Lock()
	found := x.o.blobs[sum]
	x.o.mu.Unlock()
	if !found {
		x.fail(http.StatusNotFound, fmt.Sprintf("blob \"sha256:%x\" not found", sum))
		return
	}
	x.empty(http.StatusOK)
}

// storeBlob checks the digest of an upload and stores only that.
func (x *exchange) storeBlob() {
	sum, ok := x.digest()
	switch {
	case !ok:
		return
	case x.bodyErr != nil:
		x.fail(http.StatusInternalServerError, x.bodyErr.Error())
		return
	case sum != x.seen.BodySum:
		x.fail(http.StatusBadRequest,
			fmt.Sprintf("digest mismatch, expected \"sha256:%x\", got \"sha256:%x\"", sum, x.seen.BodySum))
		return
	}
	x.o.mu.Lock()
	known := x.o.blobs[sum]
	if len(x.o.blobs) >= maxBlobs {
		clear(x.o.blobs)
	}
	x.o.blobs[sum] = true
	x.o.mu.Unlock()
	if known {
		x.empty(http.StatusOK)
		return
	}
	x.empty(http.StatusCreated)
}
