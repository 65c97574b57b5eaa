// Package top displays the status of a replica in a terminal, like top(1), and redraws it
// until the user quits. Where the output is not a terminal, it writes plain lines.
//
// It requests the status as JSON from the replica's private listener, see package status,
// within 5 seconds and up to 4 MiB. Characters in it that are not printable are replaced,
// so that no name can send escape sequences to the terminal. Lines are truncated to the
// width of the terminal, see package table.
//
// If the replica does not answer the first request, or any request in plain lines, [Run]
// returns an error; in a terminal it shows the error and tries again. The terminal is
// restored in every case.
//
// It changes nothing in the replica, and keeps no history of its own.
package top
