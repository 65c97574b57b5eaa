// Package top shows the status of a replica in a terminal, redrawn until the user
// leaves it, or in plain lines where there is no terminal.
//
// It asks the replica's private listener for the same JSON that the page uses, see
// package status, and trusts nothing in it: control characters of names are left out,
// so that no name can command the terminal. It fits any width.
package top
