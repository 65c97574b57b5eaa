//go:build !windows

package top

import "os"

// enableEscapes does nothing: terminals on this system interpret escape sequences.
func enableEscapes(*os.File) error { return nil }
