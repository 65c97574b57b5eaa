package api

// fanout says to which of several Ollamas the requests on a route go if the client names
// none.
type fanout int

const (
	TheBest  fanout = iota // the one that is chosen for the request
	everyone               // all of them, and their answers are merged
	TheNamed               // none: the client has to name one
)
