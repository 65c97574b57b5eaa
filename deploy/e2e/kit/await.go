//go:build unix

package kit

import "time"

// Patience is the time limit of everything that has none of its own: 20 seconds,
// unless the program sets another.
var Timeout = 20 * time.Second

// Await polls a condition every 10 ms until it holds, and returns how long that
// took. If it does not hold within [Patience], the program ends by [Fatal], which
// says that it waited for what.
func Await(what string, holds func() bool) time.Duration { return AwaitWithin(Timeout, what, holds) }

// AwaitWithin is [Await] with a time limit of its own.
func AwaitWithin(limit time.Duration, what string, holds func() bool) time.Duration {
	from := time.Now()
	for ; !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Since(from) > limit {
			Fatal("waited %s in vain for %s", Seconds(limit), what)
		}
	}
	return time.Since(from)
}
