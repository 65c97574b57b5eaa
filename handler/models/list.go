package models

import (
	"cmp"
	"encoding/json"
	"errors"
	"slices"

	"github.com/ollama-proxy/ollama-proxy/signer"
)

// MaxList bounds an answer that lists models: 16 MiB, some tens of thousands.
const MaxList = 16 << 20

var ErrBadList = errors.New("the list of models cannot be read")

// listFields are where an answer lists models: on /api, and on /v1.
var listFields = [...]string{"models", "data"}

// Lists is an answer that lists models. Whatever else it holds stays as it
// is.
type Lists struct {
	fields map[string]json.RawMessage
	lists  map[string][]listedModel // by field
}

// listedModel is one entry of a list.
type listedModel struct {
	text  json.RawMessage
	names []string // each name that it goes by, as it stands there
}

// ReadLists reads the body of an answer. If it is no JSON object, or what should be
// a list is none, readLists returns errBadList. An entry that is no object is left
// out.
func ReadLists(body []byte) (*Lists, error) {
	l := &Lists{lists: map[string][]listedModel{}}
	if json.Unmarshal(body, &l.fields) != nil {
		return nil, ErrBadList
	}
	for _, field := range listFields {
		if l.fields[field] == nil {
			continue
		}
		var entries []json.RawMessage
		if json.Unmarshal(l.fields[field], &entries) != nil {
			return nil, ErrBadList
		}
		l.lists[field] = make([]listedModel, 0, len(entries))
		for _, text := range entries {
			var e struct{ Model, Name, ID string }
			if json.Unmarshal(text, &e) != nil {
				continue
			}
			names := slices.DeleteFunc([]string{e.Model, e.Name, e.ID}, func(name string) bool { return name == "" })
			l.lists[field] = append(l.lists[field], listedModel{text, names})
		}
	}
	return l, nil
}

// Filter takes out every model that the key is not for, under whichever of its
// names.
func (l *Lists) Filter(limits signer.Limits) {
	for field, models := range l.lists {
		l.lists[field] = slices.DeleteFunc(models, func(m listedModel) bool {
			return len(m.names) == 0 || slices.ContainsFunc(m.names, func(name string) bool {
				canonical, ok := signer.CanonicalName(name)
				return !ok || !limits.AllowsModel(canonical)
			})
		})
	}
}

// MergeLists makes one answer of several, of which there is at least one: its lists
// hold the models of all, in the order of their names and each once, as the first
// that has it says. The rest of the answer is the first one's.
func MergeLists(all []*Lists) *Lists {
	merged := &Lists{fields: all[0].fields, lists: map[string][]listedModel{}}
	for _, l := range all {
		for field, models := range l.lists {
			merged.lists[field] = append(merged.lists[field], models...)
		}
	}
	for field, models := range merged.lists {
		slices.SortStableFunc(models, func(a, b listedModel) int { return cmp.Compare(a.name(), b.name()) })
		merged.lists[field] = slices.CompactFunc(models, func(a, b listedModel) bool { return a.name() == b.name() })
	}
	return merged
}

// name is the first of its names, in canonical spelling if it has one.
func (m listedModel) name() string {
	if len(m.names) == 0 {
		return ""
	}
	if canonical, ok := signer.CanonicalName(m.names[0]); ok {
		return canonical
	}
	return m.names[0]
}

// JSON is the answer's body. Whatever has been read as JSON can be written.
func (l *Lists) JSON() []byte {
	for field, models := range l.lists {
		texts := make([]json.RawMessage, 0, len(models))
		for _, m := range models {
			texts = append(texts, m.text)
		}
		l.fields[field], _ = json.Marshal(texts)
	}
	body, _ := json.Marshal(l.fields)
	return body
}
