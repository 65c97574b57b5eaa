package api

// reach is whom the requests on a route concern where there are several Ollamas
// and the client names none.
type fanout int

const (
	TheBest  fanout = iota // the one that suits it best
	everyone               // all of them, and the answers become one
	TheNamed               // nobody can tell but the client
)
