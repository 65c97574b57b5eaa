package top

import (
	"os"

	"golang.org/x/sys/windows"
)

// takeCommands has the console take commands, which it would print otherwise.
func takeCommands(f *os.File) error {
	var mode uint32
	if err := windows.GetConsoleMode(windows.Handle(f.Fd()), &mode); err != nil {
		return err
	}
	return windows.SetConsoleMode(windows.Handle(f.Fd()), mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING)
}
