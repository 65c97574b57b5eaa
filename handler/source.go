package handler

import "errors"

// modelSource is where a route's requests say which model they are about, and
// what it is for.
type modelSource int

const (
	noModel        modelSource = iota // they are about none
	inModel                           // the body's "model"
	inModelOrName                     // the body's "model", or "name" where that is empty
	inManaged                         // the same, of a model to pull or delete
	inPushed                          // the same, of a model to push
	inModelAndFrom                    // the same, made of the model in "from"
	inCopy                            // the body's "source" and "destination"
	inForm                            // the form's "model"
	inPath                            // the path's last segment
	inAnswer                          // about all: the answer lists them
	untold                            // nobody can tell
)

var errUnreadable = errors.New("the request body cannot be read")

// pick gives the models that Ollama would use.
func (s modelSource) pick(n names) (m mentions) {
	switch s {
	case inModel:
		m.add(n.model, toRun)
	case inModelOrName:
		m.add(or(n.model, n.name), toRun)
	case inManaged:
		m.add(or(n.model, n.name), toManage)
	case inPushed:
		m.add(or(n.model, n.name), toPush)
	case inModelAndFrom:
		m.add(or(n.model, n.name), toStore)
		if n.from != "" {
			m.add(n.from, toDerive)
		}
	case inCopy:
		m.add(n.source, toCopy)
		m.add(n.destination, toStore)
	}
	return m
}

func or(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

// isJSON reports whether the models stand in a body of JSON.
func (s modelSource) isJSON() bool {
	switch s {
	case inModel, inModelOrName, inManaged, inPushed, inModelAndFrom, inCopy:
		return true
	}
	return false
}
