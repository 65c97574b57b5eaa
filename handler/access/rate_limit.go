package access

import (
	"hash/maphash"
	"iter"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/ollama-proxy/ollama-proxy/signer"
)

// sweepStep is the number of accounts that each request checks, to delete those that
// are full again. A request adds few accounts and can delete four, so memory stays flat,
// and no request has to wait for a sweep of all.
const sweepStep = 4

// Budgets is a rate limiter: it counts the requests that the rpm and streams caveats of
// keys limit, and the defaults for keys that were minted without, on this replica. It is
// safe for concurrent use. The zero Budgets is ready, without defaults.
type Budgets struct {
	Defaults Defaults // not to be changed once there are requests

	mu   sync.Mutex
	seed maphash.Seed
	all  map[budgetID]*account
}

// budgetID is a hash of a budget's scope, with its number. Keeping the scopes' texts
// would cost up to 2 KiB each. That two scopes have the same hash, and so share a
// budget, is a chance of one in 2^64.
type budgetID struct {
	scope uint64
	n     int
}

// Defaults are limits for keys that were not minted with their own, each for the whole
// family of a key. If a holder has added a caveat, both hold. 0 is no limit.
type Defaults struct {
	RPM     int // requests a minute
	Streams int // requests at once
}

// HasBudgets reports whether anything limits the key: what does not may go without Spend.
func (b *Budgets) HasBudgets(l signer.Limits) bool {
	return l.HasBudgets() || b.Defaults.RPM > 0 || b.Defaults.Streams > 0
}

// rpm yields the budgets of requests a minute: the caveats, and the default where it holds.
func (b *Budgets) rpm(l signer.Limits) iter.Seq[signer.Budget] {
	return func(yield func(signer.Budget) bool) {
		if n := b.Defaults.RPM; n > 0 && !l.MintedWithRPM() && !yield(signer.Budget{Scope: l.Family(), N: n}) {
			return
		}
		l.RPM(yield)
	}
}

// streams yields those of requests at once.
func (b *Budgets) streams(l signer.Limits) iter.Seq[signer.Budget] {
	return func(yield func(signer.Budget) bool) {
		if n := b.Defaults.Streams; n > 0 && !l.MintedWithStreams() && !yield(signer.Budget{Scope: l.Family(), N: n}) {
			return
		}
		l.Streams(yield)
	}
}

type account struct {
	rate    *rate.Limiter // of rpm
	running int           // of streams
}

// Spend charges one request to every budget in the limits. If all of them have room,
// done is not nil, and the caller must call it once when the request is over.
//
// If a budget is used up, Spend charges none of them and done is nil. Then reason is
// [ReasonStreams] or [ReasonRPM]; for ReasonRPM, wait is the time until all budgets have
// room again, and otherwise it is 0.
func (b *Budgets) Spend(l signer.Limits, now time.Time) (done func(), reason string, wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.sweep(now) // at the end, when what is spent from is not as good as new
	streams := false
	for budget := range b.streams(l) {
		streams = true
		if b.account(budget).running >= budget.N {
			return nil, ReasonStreams, 0
		}
	}
	for budget := range b.rpm(l) {
		a := b.account(budget)
		if a.rate == nil {
			a.rate = rate.NewLimiter(rate.Limit(float64(budget.N)/60), budget.N)
		}
		if missing := 1 - a.rate.TokensAt(now); missing > 0 {
			wait = max(wait, time.Duration(missing/float64(a.rate.Limit())*float64(time.Second)))
		}
	}
	if wait > 0 {
		return nil, ReasonRPM, wait
	}
	for budget := range b.rpm(l) {
		b.account(budget).rate.AllowN(now, 1)
	}
	if !streams {
		return func() {}, "", 0
	}
	for budget := range b.streams(l) {
		b.account(budget).running++
	}
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for budget := range b.streams(l) {
			b.account(budget).running--
		}
	}, "", 0
}

func (b *Budgets) account(budget signer.Budget) *account {
	if b.all == nil {
		b.seed, b.all = maphash.MakeSeed(), map[budgetID]*account{}
	}
	id := b.idOf(budget)
	a := b.all[id]
	if a == nil {
		a = new(account)
		b.all[id] = a
	}
	return a
}

func (b *Budgets) idOf(budget signer.Budget) budgetID {
	return budgetID{maphash.String(b.seed, budget.Scope), budget.N}
}

// sweep deletes a few of the accounts that say no more than a new one would. Go iterates
// over a map from a random place, so that each account has its turn.
func (b *Budgets) sweep(now time.Time) {
	left := sweepStep
	for id, a := range b.all {
		if a.running == 0 && (a.rate == nil || a.rate.TokensAt(now) >= float64(a.rate.Burst())) {
			delete(b.all, id)
		}
		if left--; left == 0 {
			return
		}
	}
}

// InSeconds returns the duration in whole seconds for a Retry-After, rounded up, so that
// a client that waits that long finds room. It is at least 1.
func InSeconds(d time.Duration) int { return max(1, int(math.Ceil(d.Seconds()))) }

// The reasons of [Budgets.Spend], which are labels in the metrics, too.
const (
	ReasonRPM     = "rpm"     // no requests left for now
	ReasonStreams = "streams" // as many requests in flight as the key may have
)
