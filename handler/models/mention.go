package models

import "github.com/ollama-proxy/ollama-proxy/signer"

// mention is the name of a model in a request, and what Ollama would do with it.
type mention struct {
	Name string
	Use  use
}

// use is what Ollama does with the model of a name. It decides how Ollama reads
// the name, and whether one that no list of models has may pass unseen.
type use int

const (
	ToRun    use = iota // run it, or tell about it
	toManage            // pull or delete it
	toPush              // send it to a registry
	toCopy              // make another one of it
	ToDerive            // make another one of it; some versions read the name as toRun, others as toCopy
	toStore             // make one of this name
)

// Mentions are the models that a request names, the one that it is about first.
type Mentions struct {
	All [3]mention // two of a route, and the exact key
	N   int
}

func (m *Mentions) Add(name string, u use) {
	m.All[m.N] = mention{name, u}
	m.N++
}

// Read gives the canonical spelling of the name. If versions of Ollama read it
// in different ways, other is what the others make of it; else "".
func (m mention) Read() (canonical, other string, ok bool) {
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

// IsUsed reports whether Ollama does something with the model that is there. Then
// a name that is in no list has to be looked for: the model may be one that runs
// at ollama.com.
func (m mention) IsUsed() bool { return m.Use != toManage && m.Use != toStore }
