//go:build !unix

package downstream

// Descriptors returns how many files and connections the process may have open at
// once, or 0 if that is not known.
func Descriptors() int { return 0 }
