package models

import "errors"

// Source is where a route's requests say which model they are about, and
// what it is for.
type Source int

const (
	NoModel        Source = iota // they are about none
	InModel                      // the body's "model"
	InModelOrName                // the body's "model", or "name" where that is empty
	InManaged                    // the same, of a model to pull or delete
	InPushed                     // the same, of a model to push
	InModelAndFrom               // the same, made of the model in "from"
	InCopy                       // the body's "source" and "destination"
	InForm                       // the form's "model"
	InPath                       // the path's last segment
	InAnswer                     // about all: the answer lists them
	Untold                       // nobody can tell
)

var ErrUnreadable = errors.New("the request body cannot be read")

// Names gives the models that Ollama would use.
func (s Source) Names(n Names) (m Mentions) {
	switch s {
	case InModel:
		m.Add(n.Model, ToRun)
	case InModelOrName:
		m.Add(Or(n.Model, n.name), ToRun)
	case InManaged:
		m.Add(Or(n.Model, n.name), toManage)
	case InPushed:
		m.Add(Or(n.Model, n.name), toPush)
	case InModelAndFrom:
		m.Add(Or(n.Model, n.name), toStore)
		if n.from != "" {
			m.Add(n.from, ToDerive)
		}
	case InCopy:
		m.Add(n.source, toCopy)
		m.Add(n.destination, toStore)
	}
	return m
}

func Or(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

// IsJSON reports whether the models stand in a body of JSON.
func (s Source) IsJSON() bool {
	switch s {
	case InModel, InModelOrName, InManaged, InPushed, InModelAndFrom, InCopy:
		return true
	}
	return false
}
