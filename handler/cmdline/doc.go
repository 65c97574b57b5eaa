// Package cmdline completes urfave/cli: errors in our words, variables for flags, and
// the command tree as a manual page and as shell completions.
//
// urfave/cli stops reading flags at the first argument without a word; here a flag
// that comes too late is an error. An error about a flag names the variable that set
// it, if one did. No error shows the value of a secret: flags do not take any.
package cmdline
