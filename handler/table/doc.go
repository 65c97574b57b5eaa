// Package table lays out tables of text for terminals.
//
// A [Table] fits into a given number of columns: first names are cut, then columns are
// left out, as each [Column] says. Without a bound, as for a file or a pipe, nothing is
// cut and nothing is left out.
//
// Cells are other people's text, such as labels of keys. What could command a terminal
// or turn text around does not pass ([Printable]), and characters that take two columns
// or none count as such ([Width]).
//
// The package knows no terminal: callers say how wide theirs is. All rows are in
// memory.
package table
