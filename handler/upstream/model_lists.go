package upstream

import (
	"cmp"
	"errors"
	"net/http"

	"github.com/ollama-proxy/ollama-proxy/handler/models"
	"github.com/ollama-proxy/ollama-proxy/handler/transport"
)

// MergeLists asks every backend for its list of models and merges the lists: sorted by
// name, each model once, with the first backend's entry. A backend that does not respond
// within 5 s is left out. If no backend returns a list, the response is the first
// backend's; if none responds, MergeLists returns [ErrAllDown] or another error.
func (pl *Pool) MergeLists(x *Request, out *http.Request) (*http.Response, error) {
	answers := pl.askAll(x, out, http.MethodGet, probeTimeout)
	var lists []*models.Lists
	var first *http.Response // the first with a list, or else the first of all
	err := ErrAllDown
	for _, a := range answers {
		if errors.Is(a.err, transport.ErrNoConnection) {
			return nil, a.err // without its models the list would look complete
		}
		if a.err != nil {
			continue
		}
		l, unread := models.ReadLists(a.body)
		if a.res.StatusCode != http.StatusOK || unread != nil {
			err = models.ErrBadList
			first = cmp.Or(first, a.res)
			continue
		}
		if lists == nil {
			first = a.res
		}
		lists = append(lists, l)
	}
	switch {
	case lists == nil && first == nil:
		return nil, err
	case lists == nil:
		return first, nil
	}
	return inMemory(first, models.MergeLists(lists).JSON(), out), nil
}
