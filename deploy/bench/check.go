//go:build linux

package main

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// check makes sure that the target does the job that is measured: it lets good
// keys in and no others, and holds no chunk back for so long.
func (t *target) check(within time.Duration) error {
	keys := t.keys
	for _, c := range []struct {
		what, key string
		good      bool
	}{
		{"a good key", keys.Keys[0], true},
		{"another good key", keys.Keys[len(keys.Keys)-1], true},
		{"no key", "", false},
		{"a key whose tag is changed", changed(keys.Keys[0], len(keys.Keys[0])-10), false},
		{"a key whose id is changed", changed(keys.Keys[0], 12), false},
		{"a key that lacks its end", keys.Keys[0][:len(keys.Keys[0])-1], false},
		{"a revoked key", keys.revoked, false},
	} {
		err := t.try(c.key)
		switch {
		case c.good && err != nil:
			return fmt.Errorf("%s: %w", c.what, err)
		case !c.good && err == nil:
			return fmt.Errorf("%s is let in", c.what)
		case !c.good && !errors.Is(err, errRefused):
			return fmt.Errorf("%s: %w", c.what, err)
		}
	}
	if err := t.lockstep(within); err != nil {
		return fmt.Errorf("a stream, event by event: %w", err)
	}
	return nil
}

// changed is the key with another character at one place. It differs in more
// than case: nginx finds words in a map in either.
func changed(key string, at int) string {
	digit := "0"
	if key[at] == '0' {
		digit = "1"
	}
	return key[:at] + digit + key[at+1:]
}

// try asks one question.
func (t *target) try(key string) error {
	c := newClient(askSmall, key)
	defer c.close()
	if err := c.dial(t, newCrew()); err != nil {
		return err
	}
	number := nextNumber()
	if err := c.send(number); err != nil {
		return err
	}
	var count atomic.Int64
	return c.answered(number, &count)
}

// lockstep lets each event of a stream leave only when the one before it has
// arrived: a peer that waits for more than one hangs.
func (t *target) lockstep(within time.Duration) error {
	const events = 20
	f := newFeed(nextNumber(), events)
	t.upstream.feeds.Store(f.number, f)
	defer t.upstream.feeds.Delete(f.number)
	defer f.abandon()
	c := newClient(askPaced, t.keys.Keys[0])
	defer c.close()
	crew := newCrew()
	defer time.AfterFunc(within, func() { crew.fail(errTimeout) }).Stop()
	if err := c.dial(t, crew); err != nil {
		return err
	}
	if err := c.send(f.number); err != nil {
		return err
	}
	if err := crew.await([]*feed{f}); err != nil {
		return err
	}
	if err := f.send(); err != nil {
		return err
	}
	h, err := c.accepted()
	if err != nil {
		return err
	}
	err = c.body(h, func(piece []byte) error {
		if err := f.take(piece); err != nil {
			return err
		}
		if f.complete() || f.arrived != f.sent.Load()*int64(eventLen) {
			return nil // the end, or the middle of an event
		}
		if f.sent.Load() == events {
			return f.finish()
		}
		return f.send()
	})
	if err == nil && !f.complete() {
		err = errors.New("it ends early")
	}
	return err
}
