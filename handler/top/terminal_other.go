//go:build !windows

package top

import "os"

// takeCommands is for terminals that have to be told to take commands.
func takeCommands(*os.File) error { return nil }
