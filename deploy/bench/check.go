//go:build linux

package main

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// check makes sure that a peer does the job that is measured: it lets good
// keys in and no others, and holds no chunk back.
func (i *instance) check(u *upstream, keys *keyring) error {
	for _, c := range []struct {
		what, key string
		good      bool
	}{
		{"a good key", keys.Keys[0], true},
		{"another good key", keys.Keys[listed-1], true},
		{"no key", "", false},
		{"a key whose tag is changed", changed(keys.Keys[0], len(keys.Keys[0])-10), false},
		{"a key whose id is changed", changed(keys.Keys[0], 12), false},
		{"a key that lacks its end", keys.Keys[0][:len(keys.Keys[0])-1], false},
		{"a revoked key", keys.revoked, false},
	} {
		err := i.try(c.key)
		switch {
		case c.good && err != nil:
			return fmt.Errorf("%s: %w", c.what, err)
		case !c.good && err == nil:
			return fmt.Errorf("%s is let in", c.what)
		case !c.good && !errors.Is(err, errRefused):
			return fmt.Errorf("%s: %w", c.what, err)
		}
	}
	if err := i.lockstep(u, keys.Keys[0]); err != nil {
		return fmt.Errorf("a stream, event by event: %w", err)
	}
	return nil
}

// changed is the key with another letter at one place.
func changed(key string, at int) string {
	letter := "a"
	if key[at] == 'a' {
		letter = "b"
	}
	return key[:at] + letter + key[at+1:]
}

// try asks one question.
func (i *instance) try(key string) error {
	c := newClient(askSmall, key)
	defer c.close()
	if err := c.dial(i.address, patience); err != nil {
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
func (i *instance) lockstep(u *upstream, key string) error {
	const events = 20
	f := newFeed(nextNumber(), events)
	u.feeds.Store(f.number, f)
	defer u.feeds.Delete(f.number)
	defer f.abandon()
	c := newClient(askPaced, key)
	defer c.close()
	if err := c.dial(i.address, patience); err != nil {
		return err
	}
	if err := c.send(f.number); err != nil {
		return err
	}
	select {
	case <-f.began:
	case <-time.After(patience):
		return errors.New("the upstream does not get the request")
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
