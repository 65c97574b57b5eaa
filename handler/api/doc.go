// Package api describes Ollama's HTTP API as far as it is let through: the table of
// routes, the dialect in which each answers and reports errors, the headers that pass,
// and where an answer's end and its token counts stand.
//
// A request reaches Ollama only on a route of the table, on a path made from the
// table: everything that is not listed is refused. Each row says which methods the
// route has, which class of keys it is for, where its requests name their model, and
// which of several Ollamas it concerns.
//
// The package only describes. It reads no connection and refuses nothing itself.
package api
