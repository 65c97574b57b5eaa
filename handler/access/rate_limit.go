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

const (
	// sweepStep is the number of accounts that each request checks, to delete those that
	// are full again, and as many for each account that it has added. So no request has
	// to wait for a sweep of all.
	sweepStep = 4

	// maxPerFamily is how many accounts the keys made from one key may have at once:
	// 4,096, which take less than 1 MiB. Any holder can make keys with limits of their
	// own, and a new one for each request.
	maxPerFamily = 4096
)

// Budgets is a rate limiter: it counts the requests that the rpm and streams caveats of
// keys limit, and the defaults for keys that were minted without, on this replica. It is
// safe for concurrent use. The zero Budgets is ready, without defaults.
type Budgets struct {
	Defaults Defaults // not to be changed once there are requests

	mu       sync.Mutex
	seed     maphash.Seed
	all      map[budgetID]*account
	families map[uint64]int // how many accounts each has, by the hash of its name
	added    int            // accounts since the last sweep
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
	family  uint64
	rate    *rate.Limiter // of rpm
	running int           // of streams
}

// Spend charges one request to every budget in the limits. If all of them have room,
// done is not nil, and the caller must call it once when the request is over.
//
// If a budget is used up, Spend charges none of them and done is nil. Then reason is
// [ReasonStreams] or [ReasonRPM]; for ReasonRPM, wait is the time until all budgets have
// room again, and otherwise it is 0. A refused request leaves nothing in memory. If too
// many keys of the family have budgets of their own at once, reason is ReasonRPM, too.
func (b *Budgets) Spend(l signer.Limits, now time.Time) (done func(), reason string, wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.all == nil {
		b.seed, b.all, b.families = maphash.MakeSeed(), map[budgetID]*account{}, map[uint64]int{}
	}
	defer b.sweep(now) // at the end, when what is spent from is not as good as new
	streams, missing := false, 0
	for budget := range b.streams(l) {
		streams = true
		switch a := b.peek(budget); {
		case a == nil:
			missing++
		case a.running >= budget.N:
			return nil, ReasonStreams, 0
		}
	}
	for budget := range b.rpm(l) {
		a := b.peek(budget)
		if a == nil {
			missing++
		}
		if a == nil || a.rate == nil {
			continue
		}
		if short := 1 - a.rate.TokensAt(now); short > 0 {
			wait = max(wait, time.Duration(short/float64(a.rate.Limit())*float64(time.Second)))
		}
	}
	if wait > 0 {
		return nil, ReasonRPM, wait
	}
	family := maphash.String(b.seed, l.Family())
	if missing > 0 && b.families[family]+missing > maxPerFamily {
		return nil, ReasonRPM, time.Minute
	}
	for budget := range b.rpm(l) {
		a := b.account(budget, family)
		if a.rate == nil {
			a.rate = rate.NewLimiter(rate.Limit(float64(budget.N)/60), budget.N)
		}
		a.rate.AllowN(now, 1)
	}
	if !streams {
		return func() {}, "", 0
	}
	for budget := range b.streams(l) {
		b.account(budget, family).running++
	}
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for budget := range b.streams(l) {
			b.account(budget, family).running--
		}
	}, "", 0
}

// account returns the account of a budget, and adds it if there is none.
func (b *Budgets) account(budget signer.Budget, family uint64) *account {
	id := b.idOf(budget)
	a := b.all[id]
	if a == nil {
		a = &account{family: family}
		b.all[id] = a
		b.families[family]++
		b.added++
	}
	return a
}

func (b *Budgets) idOf(budget signer.Budget) budgetID {
	return budgetID{maphash.String(b.seed, budget.Scope), budget.N}
}

// sweep deletes a few of the accounts that say no more than a new one would. Go iterates
// over a map from a random place, so that each account has its turn.
func (b *Budgets) sweep(now time.Time) {
	left := sweepStep * (1 + b.added)
	b.added = 0
	for id, a := range b.all {
		if a.running == 0 && (a.rate == nil || a.rate.TokensAt(now) >= float64(a.rate.Burst())) {
			delete(b.all, id)
			if b.families[a.family]--; b.families[a.family] == 0 {
				delete(b.families, a.family)
			}
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
