//go:build linux

package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"
)

// paced keeps so many streams open, on each of which an event comes every
// interval. atEnd is called while they still run, at the end of the time that is
// measured. How many milliseconds it takes to open them all is a figure, too.
func (t *target) paced(streams int, interval time.Duration, atEnd func() error) (figures, error) {
	crew := newCrew()
	feeds := make([]*feed, streams)
	for i := range feeds {
		feeds[i] = newFeed(nextNumber(), int(t.lifetime()/interval)+1)
		t.upstream.feeds.Store(feeds[i].number, feeds[i])
		defer t.upstream.feeds.Delete(feeds[i].number)
		defer feeds[i].abandon()
	}
	began := time.Now()
	t.open(crew, feeds)
	if err := crew.await(feeds); err != nil {
		return nil, crew.stop(err)
	}
	opening := time.Since(began)
	var sent atomic.Int64
	sender := newCrew()
	sender.start(func() error { return sendInTurn(sender, feeds, interval, &sent) })

	from := time.Since(start) + t.warmUp
	found, err := t.measure(crew, func() float64 { return float64(sent.Load()) })
	to := time.Since(start)
	if err == nil {
		err = atEnd()
	}
	err = errors.Join(err, sender.stop(nil))
	for _, f := range feeds {
		if err == nil {
			err = f.finish()
		}
	}
	if err := crew.stop(err); err != nil {
		return nil, err
	}
	var delays []delay
	for _, f := range feeds {
		delays = append(delays, f.delays...)
	}
	found["open"] = float64(opening.Microseconds()) / 1000
	return found, found.quantiles(delays, from, to)
}

// open asks for the streams, and has the crew follow them.
func (t *target) open(crew *crew, feeds []*feed) {
	opening := make(chan struct{}, 64) // so many at once
	for i, f := range feeds {
		crew.start(func() error {
			c := newClient(askPaced, t.key(i, len(feeds)))
			defer c.close()
			opening <- struct{}{}
			err := c.dial(t, crew)
			if err == nil {
				err = c.send(f.number)
			}
			<-opening
			if err != nil {
				return err
			}
			return c.follow(f)
		})
	}
}

// await waits until the upstream has got all requests.
func (c *crew) await(feeds []*feed) error {
	late := time.After(patience)
	for _, f := range feeds {
		select {
		case <-f.began:
		case <-c.failed:
			return c.err
		case <-late:
			return errors.New("a request that the upstream does not get")
		}
	}
	return nil
}

// sendInTurn sends events, on each feed one every interval, at moments within
// it that have nothing to do with the others'.
func sendInTurn(crew *crew, feeds []*feed, interval time.Duration, sent *atomic.Int64) error {
	random := rand.New(rand.NewPCG(3, 4)) // the same moments for all
	moments := make([]time.Duration, len(feeds))
	for i := range moments {
		moments[i] = time.Duration(random.Int64N(int64(interval)))
	}
	slices.Sort(moments)
	for turn := time.Now(); !crew.stopping.Load(); turn = turn.Add(interval) {
		for i, f := range feeds {
			time.Sleep(time.Until(turn.Add(moments[i])))
			if crew.stopping.Load() {
				return nil
			}
			if err := f.send(); err != nil {
				return fmt.Errorf("sending an event: %w", err)
			}
			sent.Add(1)
		}
	}
	return nil
}
