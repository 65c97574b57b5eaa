package handler

import "github.com/ollama-proxy/ollama-proxy/signer"

// mention is the name of a model in a request, and what Ollama would do with it.
type mention struct {
	name string
	use  use
}

// use is what Ollama does with the model of a name. It decides how Ollama reads
// the name, and whether one that no list of models has may pass unseen.
type use int

const (
	toRun    use = iota // run it, or tell about it
	toManage            // pull or delete it
	toPush              // send it to a registry
	toCopy              // make another one of it
	toDerive            // make another one of it; some versions read the name as toRun, others as toCopy
	toStore             // make one of this name
)

// mentions are the models that a request names, the one that it is about first.
type mentions struct {
	all [3]mention // two of a route, and the exact key
	n   int
}

func (m *mentions) add(name string, u use) {
	m.all[m.n] = mention{name, u}
	m.n++
}

// read gives the canonical spelling of the name. If versions of Ollama read it
// in different ways, other is what the others make of it; else "".
func (m mention) read() (canonical, other string, ok bool) {
	switch m.use {
	case toPush, toCopy, toStore:
		canonical, ok = signer.CanonicalName(m.name)
		return canonical, "", ok
	}
	canonical, ok = signer.CanonicalModel(m.name)
	if ok && signer.SaysWhere(m.name) {
		other, _ = signer.CanonicalName(m.name)
	}
	return canonical, other, ok
}

// isUsed reports whether Ollama does something with the model that is there. Then
// a name that is in no list has to be looked for: the model may be one that runs
// at ollama.com.
func (m mention) isUsed() bool { return m.use != toManage && m.use != toStore }
