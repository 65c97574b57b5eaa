// Package status shows one replica to its operators: as JSON, as a web page, and as
// server-sent events.
//
// A [Watcher] reads counters when somebody looks, at most once in 900 ms however many
// look; while nobody does, it reads a few once a minute, to have an hour to show. What
// it shows are numbers, times, our own words, and names of keys, models and Ollamas,
// which are other people's text. It never shows a key, a prompt or an answer.
//
// It has no password. Requests that a foreign web page could have sent are refused,
// see package local. At most 32 viewers follow the events at the same time.
package status
