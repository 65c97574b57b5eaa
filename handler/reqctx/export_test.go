package reqctx

import (
	"context"
)

// NewLifetime begins a lifetime. waiting says how many functions are to be called
// after its end.
func NewLifetime() (ctx context.Context, end func(error), waiting func() int) {
	l := new(Request)
	l.Begin(context.Background())
	return l, l.Cancel, func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.after)
	}
}
