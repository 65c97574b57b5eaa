//go:build unix

package kit

import (
	"fmt"
	"os"
	"time"
)

// Began is when the program started.
var Began = time.Now()

// Pass reports on standard output that a check has passed.
func Pass(format string, a ...any) { fmt.Printf("ok    "+format+"\n", a...) }

// Note prints information on standard output that is not the result of a check.
func Note(format string, a ...any) { fmt.Printf("      "+format+"\n", a...) }

// Fatal reports a failure on standard error, with how long the program has run,
// and exits with status 1. Deferred functions do not run.
func Fatal(format string, a ...any) {
	fmt.Fprintf(os.Stderr, "FAILED after %s: "+format+"\n", append([]any{Seconds(time.Since(Began))}, a...)...)
	os.Exit(1)
}

// Must ends the program by [Fatal] if err is not nil. The format and its operands say what
// was being done.
func Must(err error, format string, a ...any) {
	if err != nil {
		Fatal("%s: %v", fmt.Sprintf(format, a...), err)
	}
}

// Seconds formats a duration in seconds, to the hundredth: "1.50s".
func Seconds(d time.Duration) string { return fmt.Sprintf("%.2fs", d.Seconds()) }
