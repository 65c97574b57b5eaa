package keyinfo

import "time"

// Path is the route on which a proxy answers.
const Path = "/v1/key"

// Info is what a key may do.
type Info struct {
	ID         string     `json:"id"`                    // of the key that was minted
	NarrowedID string     `json:"narrowed_id,omitempty"` // of a narrowed key its own, or that of the nearest key it was made from
	Label      string     `json:"label,omitempty"`
	Admin      bool       `json:"admin"`
	Minted     *time.Time `json:"minted_at,omitempty"`  // nil: its id does not say
	Expires    *time.Time `json:"expires_at,omitempty"` // nil: it does not expire
	Routes     []string   `json:"routes"`               // the classes that are open to it

	// Models and From are the lists that the key has been narrowed to, of models' names
	// with *, and of networks. Of each list something must match. Empty: all are open.
	Models [][]string `json:"models,omitempty"`
	From   [][]string `json:"from,omitempty"`

	Limits []Limit `json:"limits"`
}

// Limit is a limit of the key's, and what is left of it on the replica that answers.
type Limit struct {
	Kind      string `json:"kind"` // "rpm", requests a minute, or "streams", requests at once
	Limit     int    `json:"limit"`
	Remaining int    `json:"remaining"`

	// ResetSeconds is after how many seconds all of it is there again, if there are no
	// more requests. It stands at rpm only.
	ResetSeconds float64 `json:"reset_seconds,omitempty"`

	// Default is set where the limit is the proxy's, for keys that were minted without one.
	Default bool `json:"default,omitempty"`
}

// Name is the key's id and, where it was narrowed, "~" and its own one.
func (i Info) Name() string {
	if i.NarrowedID == "" {
		return i.ID
	}
	return i.ID + "~" + i.NarrowedID
}
