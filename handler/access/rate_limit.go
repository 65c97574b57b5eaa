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

// sweepStep is how many accounts each request looks at, to forget those that
// nobody uses. More than one go for each that comes, so memory stays flat, and
// no request has to wait for a big sweep.
const sweepStep = 4

// Budgets counts what the rpm and streams caveats limit, and the defaults for keys that
// were minted without, on this replica. The zero Budgets is ready for use, without
// defaults.
type Budgets struct {
	Defaults Defaults // not to be changed once there are requests

	mu   sync.Mutex
	seed maphash.Seed
	all  map[budgetID]*account
}

// budgetID stands for a budget's scope and number. Two scopes in a billion
// billion share one; keeping the scopes' texts would cost 2 KiB each.
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

// Spend takes one request from each of the budgets, or from none. If one is
// used up, reason says which kind, and wait how long until one would have room; 0
// means that this is not known. Otherwise done must be called when the request
// is over.
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

// sweep forgets a few of the accounts that are as good as new. A map's
// iteration begins anywhere, so all have their turn.
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

// InSeconds rounds up: a client that waits that long finds room.
func InSeconds(d time.Duration) int { return max(1, int(math.Ceil(d.Seconds()))) }

const ReasonRPM = "rpm"

const ReasonStreams = "streams"
