package models

import (
	"cmp"
	"encoding/json"
	"errors"
	"slices"

	"github.com/ollama-proxy/ollama-proxy/signer"
)

// MaxList bounds the size of a response that lists models: 16 MiB, some tens of
// thousands of them. The caller has to enforce it.
const MaxList = 16 << 20

// ErrBadList is returned by ReadLists for a body that it cannot read.
var ErrBadList = errors.New("the list of models cannot be read")

// listFields are the fields that list models, in responses under /api and under /v1.
var listFields = [...]string{"models", "data"}

// Lists is a response that lists models. All else in the response is kept as it is.
type Lists struct {
	fields map[string]json.RawMessage
	lists  map[string][]listedModel // by field
}

// listedModel is one entry of a list.
type listedModel struct {
	text  json.RawMessage // the entry's JSON
	names []string        // all that are not empty of "model", "name" and "id"
}

// ReadLists parses the body of a response. Entries that are not objects are left out. If
// the body is not a JSON object, or a field that should be a list is not, ReadLists
// returns [ErrBadList].
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

// Filter removes every model that the limits of a key do not allow. A model with several
// names is removed if any of them is not allowed or no name of a model.
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

// MergeLists merges at least one response into one. Its lists have the models of all
// responses, sorted by name and without duplicates: the first response's entry is kept.
// All else comes from the first response.
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

// name returns the first name, in canonical spelling if it has one.
func (m listedModel) name() string {
	if len(m.names) == 0 {
		return ""
	}
	if canonical, ok := signer.CanonicalName(m.names[0]); ok {
		return canonical
	}
	return m.names[0]
}

// JSON returns the body of the response. It cannot fail, since everything in it was read
// from JSON.
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
