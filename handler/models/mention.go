package models

import "github.com/ollama-proxy/ollama-proxy/signer"

// Mention is one name of a model in a request, and what Ollama does with that model.
type Mention struct {
	Name string // from 0 to 3
	Use  Use    // what Ollama does with it
}

// Use is what Ollama does with a named model. It decides how Ollama reads the name, and
// whether the proxy must know where the model runs, see [Mention.IsUsed].
type Use int

const (
	ToRun    Use = iota // run it, or describe it
	toManage            // pull or delete it
	toPush              // push it to a registry
	toCopy              // copy it
	ToDerive            // create another model from it; some versions of Ollama read the name as they do for ToRun, others as for toCopy
	toStore             // create a model of this name
)

// Mentions are the names of models in a request, the one that the request is about
// first. The zero Mentions has none.
type Mentions struct {
	All [3]Mention // the first N are valid: at most two of a route, and Names.Exact
	N   int
}

// Add appends a name. There must be fewer than three.
func (m *Mentions) Add(name string, u Use) {
	m.All[m.N] = Mention{name, u}
	m.N++
}

// Read returns the canonical spelling of the name as Ollama reads it for this use. If
// some versions of Ollama read it differently, other is the canonical spelling for
// those, and otherwise "". If the name is not one of a model, ok is false.
func (m Mention) Read() (canonical, other string, ok bool) {
	switch m.Use {
	case toPush, toCopy, toStore:
		canonical, ok = signer.CanonicalName(m.Name)
		return canonical, "", ok
	}
	canonical, ok = signer.CanonicalModel(m.Name)
	if ok && signer.SaysWhere(m.Name) {
		other, _ = signer.CanonicalName(m.Name)
	}
	return canonical, other, ok
}

// IsUsed reports whether Ollama reads the model itself, rather than only its name. If so
// and no list has the name, the lists must be read again: the model may be one that runs
// at ollama.com.
func (m Mention) IsUsed() bool { return m.Use != toManage && m.Use != toStore }
