package connect

import (
	"context"
	"errors"
	"log/slog"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ollama-proxy/ollama-proxy/signer"
)

const (
	// childLife is how long a child of the key is valid: five minutes. Whoever picks
	// one up on the way has little time to use it. The proxy checks the time when a
	// request arrives, so a running stream outlives its key.
	childLife = 5 * time.Minute

	// renewAfter is the age at which a child is replaced. What is left of its life
	// covers slow networks, and replicas whose clocks differ by up to two minutes.
	renewAfter = childLife / 2

	// trustClock is how long one reading of the remote's clock is used.
	trustClock = time.Hour
)

// keySource chooses the key that goes with a request. If the remote is an ollama-proxy,
// that is a child of the user's key which is valid for five minutes, otherwise the key as
// it is. keySource asks the remote what it is, see [keySource.look]. Requests share a
// child for some minutes, so a request costs no HMAC.
type keySource struct {
	o    Options
	full bool // the key has no room for one caveat more

	now  atomic.Pointer[grant]
	busy sync.Mutex // held while the next grant is made

	// These are guarded by busy.
	clock reading
	told  string // the last finding in the log
}

// grant is the key to send for a while.
type grant struct {
	key   string
	child bool
	since time.Time
	life  time.Duration
}

func (g *grant) isFresh(now time.Time) bool { return elapsed(g.since, now) < g.life }

// elapsed returns the time between two calls of time.Now. While a laptop sleeps, the
// monotonic clock stands still; the wall clock can be set back. So elapsed measures with
// both, and returns the longer time.
func elapsed(since, now time.Time) time.Duration {
	return max(now.Sub(since), now.Round(0).Sub(since.Round(0)))
}

// reading is what the remote's clock showed at a moment of ours.
type reading struct{ remote, ours time.Time }

// at returns the remote's time now. If the reading is older than trustClock, or if this
// machine has slept or its clock was set since then, ok is false. Our clock need not be
// right.
func (r reading) at(now time.Time) (t time.Time, ok bool) {
	passed, byWall := now.Sub(r.ours), now.Round(0).Sub(r.ours.Round(0))
	if r.remote.IsZero() || passed > trustClock || (passed-byWall).Abs() > 10*time.Second {
		return time.Time{}, false
	}
	return r.remote.Add(passed), true
}

// current returns the key for a request. While the remote is being asked, requests wait,
// at most lookTime; they are not refused if it does not answer.
func (s *keySource) current(ctx context.Context) string {
	if g := s.now.Load(); g != nil && g.isFresh(time.Now()) {
		return g.key
	}
	s.busy.Lock()
	defer s.busy.Unlock()
	g := s.now.Load()
	if g != nil && g.isFresh(time.Now()) {
		return g.key
	}
	if remote, ok := s.clock.at(time.Now()); ok && g != nil && g.child {
		if next, err := s.child(remote); err == nil {
			s.now.Store(next)
			return next.key
		}
	}
	// The other requests need the result, too, even if the client of this one leaves.
	g = s.look(context.WithoutCancel(ctx))
	s.now.Store(g)
	return g.key
}

// refused is called with the key of a request that got a 401. If that was a child, its
// parent may have been revoked, or the remote's clock set: the remote is asked again.
func (s *keySource) refused(key string) {
	if g := s.now.Load(); g != nil && g.child && g.key == key && s.now.CompareAndSwap(g, nil) {
		go s.current(context.Background())
	}
}

// child makes a child of the key that ends childLife after the remote's time.
func (s *keySource) child(remote time.Time) (*grant, error) {
	if s.full {
		return nil, errFull
	}
	caveat, err := signer.NewCaveat("exp", strconv.FormatInt(remote.Add(childLife).Unix(), 10))
	if err != nil {
		return nil, err // the remote's date is before 1970 or after 9999
	}
	key, err := signer.Restrict(s.o.Key, caveat)
	return &grant{key, true, time.Now(), renewAfter}, err
}

var errFull = errors.New("the key has no room for one caveat more")

// isFull reports whether a key has as many caveats or bytes as a key may have.
func isFull(key string) bool {
	caveat, err := signer.NewCaveat("exp", strconv.FormatInt(time.Now().Add(childLife).Unix(), 10))
	if err == nil {
		_, err = signer.Restrict(key, caveat)
	}
	return err != nil
}

// asItIs grants the key itself for a while.
func (s *keySource) asItIs(life time.Duration) *grant {
	return &grant{s.o.Key, false, time.Now(), life}
}

// tell logs a finding, unless it is the same as the last one.
func (s *keySource) tell(level slog.Level, message string, more ...any) {
	if s.told != message {
		s.told = message
		s.o.Log.Log(context.Background(), level, message, append([]any{"remote", s.o.Remote.Host}, more...)...)
	}
}

var keyInText = regexp.MustCompile(`OLLAMA-[A-Za-z0-9_~.-]+`)

// withoutKeys hides keys in a text that quotes what was sent or received.
func withoutKeys(text string) string { return keyInText.ReplaceAllString(text, "[key]") }
