//go:build linux

package main

import (
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// target is what the load goes to, and for how long.
type target struct {
	address  string
	pids     []int // whose CPU time and memory is measured; none for the direct path
	keys     *keyring
	upstream *upstream
	poller   *poller

	warmUp, window time.Duration
}

const (
	// patience is how long anything may take that should come at once.
	patience = 10 * time.Second

	// overtime is how long a run may go on if nothing has happened in its time.
	overtime = 2 * time.Second
)

// lifetime is how long any connection may take.
func (t *target) lifetime() time.Duration { return t.warmUp + t.window + 2*patience }

// key is the key of a connection. They are spread evenly over the list: what
// searches it from the top should neither gain nor lose by that.
func (t *target) key(i, of int) string {
	keys := t.keys.Keys
	return keys[(i*len(keys)/of+len(keys)/(2*of))%len(keys)]
}

// crew is goroutines that work until they are told to stop, or one fails.
type crew struct {
	stopping atomic.Bool
	group    sync.WaitGroup
	once     sync.Once
	err      error
	failed   chan struct{}
}

func newCrew() *crew { return &crew{failed: make(chan struct{})} }

func (c *crew) start(work func() error) {
	c.group.Go(func() {
		if err := work(); err != nil {
			c.fail(err)
		}
	})
}

func (c *crew) fail(err error) {
	c.once.Do(func() {
		c.err = err
		c.stopping.Store(true)
		close(c.failed)
	})
}

// wait sleeps, or returns early if a worker fails.
func (c *crew) wait(d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-c.failed:
		return c.err
	}
}

// stop waits for the workers to finish what they do, or breaks it off for the
// error. It gives the first one.
func (c *crew) stop(err error) error {
	if err != nil {
		c.fail(err)
	}
	c.stopping.Store(true)
	c.group.Wait()
	return c.err
}

// measure lets the load run, and gives the CPU time that the target took for
// each unit counted meanwhile. It does not stop the load.
func (t *target) measure(c *crew, count func() float64) (figures, error) {
	if err := c.wait(t.warmUp); err != nil {
		return nil, err
	}
	began, before := time.Now(), count()
	used, err := cpuOf(t.pids)
	if err != nil {
		return nil, err
	}
	for {
		if err := c.wait(t.window); err != nil {
			return nil, err
		}
		after, took := count(), time.Since(began)
		now, err := cpuOf(t.pids)
		switch measured := now > used || len(t.pids) == 0; {
		case err != nil:
			return nil, err
		case after > before && measured:
			return figures{
				"cpu":  float64((now - used).Microseconds()) / (after - before),
				"rate": (after - before) / took.Seconds(),
				"busy": float64(now-used) / float64(took) * 100,
			}, nil
		case took < overtime: // the machine has other things to do
		case measured:
			return nil, errors.New("nothing came through")
		default:
			return nil, errors.New("the work was done by processes that nobody measures")
		}
	}
}

// closedLoop keeps so many requests in flight, each on a connection of its
// own, which is kept, or new for each request. It counts answers, of streams MiB.
func (t *target) closedLoop(ask string, connections int, anew bool) (figures, error) {
	crew := newCrew()
	var count atomic.Int64
	for i := range connections {
		crew.start(func() error {
			c := newClient(ask, t.key(i, connections))
			defer c.close()
			for first := true; !crew.stopping.Load(); first = false {
				if first || anew {
					if err := c.dial(t, crew); err != nil {
						return err
					}
				}
				number := nextNumber()
				if err := c.send(number); err != nil {
					return err
				}
				if err := c.answered(number, &count); err != nil {
					return err
				}
			}
			return nil
		})
	}
	unit := 1.0
	if ask == askFull {
		unit = 1 << 20
	}
	found, err := t.measure(crew, func() float64 { return float64(count.Load()) / unit })
	return found, crew.stop(err)
}

// openLoop sends requests at moments that do not depend on the answers: on
// average so many a second, at random, as from many clients who know nothing of
// each other. The time of a request begins when it was due, so one that has to
// wait because others take long counts in full.
func (t *target) openLoop(rate int) (figures, error) {
	const connections = 64
	crew := newCrew()
	var count atomic.Int64
	total := int(float64(rate) * (t.warmUp + t.window + patience).Seconds())
	due := make(chan time.Time, total)
	delays := make([][]delay, connections)
	for i := range connections {
		delays[i] = make([]delay, 0, total/8)
		crew.start(func() error {
			c := newClient(askSmall, t.key(i, connections))
			defer c.close()
			if err := c.dial(t, crew); err != nil {
				return err
			}
			for at := range due {
				number := nextNumber()
				if err := c.send(number); err != nil {
					return err
				}
				if err := c.answered(number, &count); err != nil {
					return err
				}
				delays[i] = append(delays[i], delay{at.Sub(start), time.Since(at)})
			}
			return nil
		})
	}
	crew.start(func() error {
		defer close(due)
		random := rand.New(rand.NewPCG(1, 2)) // the same moments for all
		for at := time.Now(); !crew.stopping.Load(); {
			at = at.Add(time.Duration(random.ExpFloat64() * float64(time.Second) / float64(rate)))
			time.Sleep(time.Until(at))
			due <- at
		}
		return nil
	})
	from := time.Since(start) + t.warmUp
	found, err := t.measure(crew, func() float64 { return float64(count.Load()) })
	to := time.Since(start)
	if err := crew.stop(err); err != nil {
		return nil, err
	}
	return found, found.quantiles(slices.Concat(delays...), from, to)
}
