package handler

// reach is whom the requests on a route concern where there are several Ollamas
// and the client names none.
type reach int

const (
	theBest  reach = iota // the one that suits it best
	everyone              // all of them, and the answers become one
	theNamed              // nobody can tell but the client
)
