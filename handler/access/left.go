package access

import (
	"math"
	"strconv"
	"time"

	"github.com/ollama-proxy/ollama-proxy/signer"
)

// Left is what is left of a budget on this replica.
type Left struct {
	Reason    string // ReasonRPM or ReasonStreams
	Limit     int
	Remaining int
	Reset     time.Duration // until nothing is missing, if no more is spent; of streams 0
	Default   bool          // it is one of Defaults
}

// Left returns what is left of each of the key's budgets, in the order of its caveats,
// and of a default first.
func (b *Budgets) Left(l signer.Limits, now time.Time) (all []Left) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for budget := range b.rpm(l) {
		all = append(all, b.leftOfRPM(l, budget, now))
	}
	for budget := range b.streams(l) {
		left := Left{Reason: ReasonStreams, Limit: budget.N, Remaining: budget.N, Default: budget.Scope == l.Family()}
		if a := b.peek(budget); a != nil {
			left.Remaining -= a.running
		}
		all = append(all, left)
	}
	return all
}

// LeftRequests returns what is left of the requests a minute that the key may make: of
// several budgets, of the one that is used up first. If there is none, ok is false.
func (b *Budgets) LeftRequests(l signer.Limits, now time.Time) (least Left, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for budget := range b.rpm(l) {
		left := b.leftOfRPM(l, budget, now)
		if !ok || left.Remaining < least.Remaining || left.Remaining == least.Remaining && left.Reset > least.Reset {
			least, ok = left, true
		}
	}
	return least, ok
}

func (b *Budgets) leftOfRPM(l signer.Limits, budget signer.Budget, now time.Time) Left {
	left := Left{Reason: ReasonRPM, Limit: budget.N, Remaining: budget.N, Default: budget.Scope == l.Family()}
	if a := b.peek(budget); a != nil && a.rate != nil {
		tokens := min(max(a.rate.TokensAt(now), 0), float64(budget.N))
		left.Remaining = int(tokens)
		left.Reset = time.Duration((float64(budget.N) - tokens) / float64(a.rate.Limit()) * float64(time.Second))
	}
	return left
}

// peek returns the budget's account, or nil if nothing was spent of it lately.
func (b *Budgets) peek(budget signer.Budget) *account {
	if b.all == nil {
		return nil
	}
	return b.all[b.idOf(budget)]
}

// The headers in which OpenAI tells how many requests are left. Clients read the last as
// a duration such as 1s, 6m0s or 17ms.
const (
	limitRequestsHeader     = "X-Ratelimit-Limit-Requests"
	remainingRequestsHeader = "X-Ratelimit-Remaining-Requests"
	resetRequestsHeader     = "X-Ratelimit-Reset-Requests"
)

// SetHeaders says what is left of the requests a minute in the headers of an answer, as
// OpenAI does.
func (l Left) SetHeaders(h map[string][]string) {
	values := [...]string{strconv.Itoa(l.Limit), strconv.Itoa(l.Remaining), inMilliseconds(l.Reset).String()}
	h[limitRequestsHeader], h[remainingRequestsHeader], h[resetRequestsHeader] = values[0:1:1], values[1:2:2], values[2:3:3]
}

// inMilliseconds rounds up: after that time it is so.
func inMilliseconds(d time.Duration) time.Duration {
	return time.Duration(math.Ceil(float64(d)/float64(time.Millisecond))) * time.Millisecond
}
