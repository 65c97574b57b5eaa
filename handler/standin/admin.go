package standin

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// What a stranger with an admin key may pile up in a demo is bounded too.
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

// report streams the progress of something, or tells only its end where the client wants no stream. A failure, which
// failed is unless empty, is a line after a 200, or a status of 500.
func (x *exchange) report(failed string, steps ...progress) {
	switch x.fault {
	case "repeat":
		steps = slices.DeleteFunc(steps, func(p progress) bool { return p.Status == success })
	case "runner-killed", "error-event":
		steps, failed = steps[:1], killedMessage
	}
	if x.ask.Stream != nil && !*x.ask.Stream {
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

// named reports whether the request names a model in a form that Ollama takes, and answers it if not.
func (x *exchange) named() (string, bool) {
	name := x.model()
	switch {
	case x.unread != nil:
		x.fail(http.StatusBadRequest, x.unread.Error())
	case name == "":
		x.fail(http.StatusBadRequest, "invalid model name")
	default:
		return name, true
	}
	return "", false
}

// pull finds what the stand-in was made with, deleted or not, and fails for all else.
func (x *exchange) pull() {
	name, ok := x.named()
	if !ok {
		return
	}
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

func (x *exchange) push() {
	name, ok := x.named()
	if !ok {
		return
	}
	manifest := progress{Status: "retrieving manifest"}
	if x.fault == "" && !x.o.has(name) {
		x.report("file does not exist", manifest)
		return
	}
	l := describe(name)
	x.report("", manifest, progress{"pushing " + l.Digest[:12], "sha256:" + l.Digest, l.Size, l.Size},
		progress{Status: "pushing manifest"}, progress{Status: success})
}

func (x *exchange) create() {
	name, ok := x.named()
	if !ok {
		return
	}
	if x.fault == "" && x.ask.nothing {
		x.fail(http.StatusBadRequest, "neither 'from' or 'files' was specified")
		return
	}
	if x.fault == "" && !x.o.install(name, x.ask.remote) {
		x.report("no space left on device", progress{Status: "gathering model components"})
		return
	}
	x.report("", progress{Status: "gathering model components"}, progress{Status: "using existing layer"},
		progress{Status: "writing manifest"}, progress{Status: success})
}

func (x *exchange) copy() {
	source, ok := x.named()
	if !ok {
		return
	}
	destination := Stored(x.ask.destination)
	switch {
	case destination == "":
		x.fail(http.StatusBadRequest, fmt.Sprintf("destination %q is invalid", x.ask.destination))
	case !x.o.has(source):
		x.fail(http.StatusNotFound, fmt.Sprintf("model %q not found", x.ask.Model))
	case !x.o.install(destination, x.o.isRemote(source)):
		x.fail(http.StatusInternalServerError, "no space left on device")
	default:
		x.empty(http.StatusOK)
	}
}

func (x *exchange) remove() {
	name, ok := x.named()
	if !ok {
		return
	}
	x.o.mu.Lock()
	i := slices.Index(x.o.installed, name)
	if i >= 0 {
		x.o.installed = slices.Delete(x.o.installed, i, i+1)
		delete(x.o.loaded, name)
		delete(x.o.remote, name)
	}
	x.o.mu.Unlock()
	if i < 0 {
		x.fail(http.StatusNotFound, "model '"+x.ask.Model+"' not found")
		return
	}
	x.empty(http.StatusOK)
}

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

// digest returns the blob that the path names, in both spellings that Ollama has for it.
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

// storeBlob checks the upload and remembers that it was there, not what it was.
func (x *exchange) storeBlob() {
	sum, ok := x.digest()
	switch {
	case !ok:
		return
	case x.unread != nil:
		x.fail(http.StatusInternalServerError, x.unread.Error())
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
