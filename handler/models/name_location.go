package models

import (
	"cmp"
	"errors"
)

// Source says where the requests of a route name their models, and what for.
type Source int

const (
	NoModel        Source = iota // they name none
	InModel                      // the body's "model"
	InModelOrName                // the body's "model", or "name" where that is empty
	InManaged                    // the same; Ollama pulls or deletes it
	InPushed                     // the same; Ollama pushes it
	InModelAndFrom               // the same; Ollama creates it from the model in "from"
	InCopy                       // the body's "source" is copied to its "destination"
	InForm                       // the multipart form's "model"
	InPath                       // the last segment of the path
	InAnswer                     // none, but the response lists models
	Unknown                      // nobody can know which models they use
)

// ErrUnreadable is returned if a body is not what its route and headers say: a form, or
// zstd.
var ErrUnreadable = errors.New("the request body cannot be read")

// Names returns those of the names in a JSON body that Ollama uses on such a route. It
// returns none if s is not one of a JSON body, see [Source.IsJSON].
func (s Source) Names(n Names) (m Mentions) {
	switch s {
	case InModel:
		m.Add(n.Model, ToRun)
	case InModelOrName:
		m.Add(cmp.Or(n.Model, n.name), ToRun)
	case InManaged:
		m.Add(cmp.Or(n.Model, n.name), toManage)
	case InPushed:
		m.Add(cmp.Or(n.Model, n.name), toPush)
	case InModelAndFrom:
		m.Add(cmp.Or(n.Model, n.name), toStore)
		if n.from != "" {
			m.Add(n.from, ToDerive)
		}
	case InCopy:
		m.Add(n.source, toCopy)
		m.Add(n.destination, toStore)
	}
	return m
}

// IsJSON reports whether the names are in a body of JSON.
func (s Source) IsJSON() bool {
	switch s {
	case InModel, InModelOrName, InManaged, InPushed, InModelAndFrom, InCopy:
		return true
	}
	return false
}
