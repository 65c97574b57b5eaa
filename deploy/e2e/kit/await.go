//go:build unix

package kit

import "time"

// Timeout is the default time limit for whatever is waited for: 20 seconds, unless the
// program sets another.
var Timeout = 20 * time.Second

// Await polls a condition every 10 ms until it holds, and returns how long that took. If it
// does not hold within [Timeout], the program ends by [Fatal]. What names the condition in
// that message.
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
