package standin

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"time"
)

// keepAlive is how long an unused model stays loaded.
const keepAlive = 5 * time.Minute

// isRemote reports whether the model runs at ollama.com.
func (o *Ollama) isRemote(name string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.remote[name]
}

func (o *Ollama) has(name string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Contains(o.installed, name)
}

// load marks a model as loaded, if it is installed. The models that misbehave are not.
func (o *Ollama) load(model string) {
	name := Canonical(model)
	o.mu.Lock()
	defer o.mu.Unlock()
	if slices.Contains(o.installed, name) {
		o.loaded[name] = time.Now().UTC()
	}
}

func (o *Ollama) unload(model string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.loaded, Canonical(model))
}

type details struct {
	Parent       string   `json:"parent_model"`
	Format       string   `json:"format"`
	Family       string   `json:"family"`
	Families     []string `json:"families"`
	Parameters   string   `json:"parameter_size"`
	Quantization string   `json:"quantization_level"`
}

// listing is a model in /api/tags and, with the last three fields instead of a date, in /api/ps.
type listing struct {
	Name       string     `json:"name"`
	Model      string     `json:"model"`
	Remote     string     `json:"remote_model,omitempty"`
	RemoteHost string     `json:"remote_host,omitempty"`
	ModifiedAt *time.Time `json:"modified_at,omitempty"`
	Size       int64      `json:"size"`
	Digest     string     `json:"digest"`
	Details    details    `json:"details"`
	ExpiresAt  *time.Time `json:"expires_at,omitempty"`
	SizeVRAM   int64      `json:"size_vram,omitempty"`
	Context    int        `json:"context_length,omitempty"`
}

// describe derives the description of a model from its name: always the same, and different for each name.
func describe(name string) listing {
	sum := sha256.Sum256([]byte(name))
	family := "llama"
	if embeds(name) {
		family = "nomic-bert"
	}
	return listing{
		Name: name, Model: name, Digest: hex.EncodeToString(sum[:]), Size: 1<<30 + int64(sum[0])<<22,
		Details: details{
			Format: "gguf", Family: family, Families: []string{family}, Parameters: "1.2B", Quantization: "Q4_K_M",
		},
	}
}

func embeds(name string) bool { return strings.Contains(name, "embed") }

func (x *exchange) alive() { x.plain(http.StatusOK, "Ollama is running") }

func (x *exchange) version() { x.reply(http.StatusOK, map[string]string{"version": "0.33.0"}) }

func (x *exchange) status() {
	x.reply(http.StatusOK, map[string]any{"cloud": map[string]any{"disabled": false, "source": "none"}})
}

func (x *exchange) account() { x.reply(http.StatusOK, map[string]string{}) }

func (x *exchange) tags() {
	all := []listing{}
	for _, name := range x.o.names() {
		l := describe(name)
		l.ModifiedAt = &x.o.born
		if x.o.isRemote(name) {
			l.Remote, l.RemoteHost = "gpt-oss:120b", cloudHost
		}
		all = append(all, l)
	}
	x.reply(http.StatusOK, map[string]any{"models": all})
}

func (o *Ollama) names() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.installed)
}

func (x *exchange) running() {
	all := []listing{}
	x.o.mu.Lock()
	for _, name := range x.o.installed {
		if used, ok := x.o.loaded[name]; ok && time.Since(used) < keepAlive {
			until := used.Add(keepAlive)
			l := describe(name)
			l.ExpiresAt, l.SizeVRAM, l.Context = &until, l.Size, 4096
			all = append(all, l)
		}
	}
	x.o.mu.Unlock()
	x.reply(http.StatusOK, map[string]any{"models": all})
}

func (x *exchange) show() {
	if !x.runnable() {
		return
	}
	name := Canonical(x.query.Model)
	capabilities := []string{"completion", "tools"}
	if embeds(name) {
		capabilities = []string{"embedding"}
	}
	d := describe(name).Details
	x.reply(http.StatusOK, map[string]any{
		"modelfile":   "FROM " + name + "\n",
		"parameters":  "stop \"<|end|>\"",
		"template":    "{{ .Prompt }}",
		"details":     d,
		"model_info":  map[string]any{"general.architecture": d.Family, d.Family + ".context_length": 4096},
		"modified_at": x.o.born, "capabilities": capabilities,
	})
}

type openAIModel struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
}

// openAIModel returns the entry of a model, owned by its namespace.
func (o *Ollama) openAIModel(model string) openAIModel {
	owner := defaultNamespace
	if rest, _, ok := cutLast(Canonical(model), "/"); ok {
		_, owner, _ = cutLast(rest, "/")
	}
	return openAIModel{model, "model", o.born.Unix(), owner}
}

func (x *exchange) models() {
	var all []openAIModel // null when there are none, as in the original
	for _, name := range x.o.names() {
		all = append(all, x.o.openAIModel(name))
	}
	x.reply(http.StatusOK, map[string]any{"object": "list", "data": all})
}

func (x *exchange) retrieve() {
	if x.runnable() {
		x.reply(http.StatusOK, x.o.openAIModel(x.query.Model))
	}
}
