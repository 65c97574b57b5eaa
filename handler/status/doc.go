// Package status serves the status of one replica to its operators: as JSON, as a web
// page, and as server-sent events.
//
// A [Watcher] reads the counters when a status is requested, at most once in 900 ms for
// all requests together. Otherwise it only reads a few counters once a minute, for the
// chart of the last hour. A status contains numbers, times, words of the proxy, and names
// of keys, models and Ollamas, which other people have chosen. It never contains a key, a
// prompt or an answer.
//
// If a viewer does not read an event within 10 seconds, its stream ends. At most 32
// viewers can follow the events at the same time; others get 503.
//
// The package does not ask for a password: it is for a private listener. Requests that a
// web page of another site could have sent are refused, see package local.
package status
