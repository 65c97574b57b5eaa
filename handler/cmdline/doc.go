// Package cmdline extends urfave/cli: clearer errors, an environment variable for each
// flag, and the command tree as shell completions and as a manual page.
//
// urfave/cli silently stops reading flags at the first argument; here a flag after an
// argument is an error. An error about a flag names the variable that set it, if one
// did. Errors quote the values of flags: a secret is never the value of a flag, only the
// file that it is in.
//
// Only this package and main know urfave/cli. What a command does is not decided here.
package cmdline
