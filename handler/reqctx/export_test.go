package reqctx

import (
	"context"
)

// NewRequest begins a Request. waiting returns how many functions are to be called after
// its end.
func NewRequest() (ctx context.Context, cancel func(error), waiting func() int) {
	r := new(Request)
	r.Begin(context.Background())
	return r, r.Cancel, func() int {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.afterFuncs)
	}
}
