//go:build unix

// Command timing measures whether refusing a key takes longer the more of it is
// right: then a tag could be found byte by byte. Keys of several kinds are
// refused in turn, in random order. A leak is a difference that is both certain
// and large enough to be of use; so that a busy machine makes no leak, it must
// show three times in a row. The same is done with a comparison that does leak,
// which must be found. It is run by .ci/timing.
package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

const (
	keys    = 16   // of each kind, refused one after the other: that is timed
	rounds  = 6000 // in which each kind has its turn
	certain = 6.0  // standard errors
	useful  = 2.0  // nanoseconds: a loop over the tag takes ten times as long
	tries   = 3
	tagLen  = 43
)

// contrast is two kinds of keys that must take equally long to refuse. Those in
// the same place differ in nothing but what the name says, and in no character's
// being a letter or a digit: reading those takes different times, which whoever
// wrote the key knows anyway.
type contrast struct {
	name        string
	one, other  []string
	right       []string // what a leak would compare the one with
	mustBeFound bool     // with the leak
}

func main() {
	runtime.LockOSThread()
	verifier, contrasts := forge()
	verify := func(key, _ string) { verifier.Verify(key, time.Time{}) }
	leaky := func(key, right string) {
		verifier.Verify(key, time.Time{})
		if leak(key, right) {
			kit.Fatal("a wrong key is right")
		}
	}

	fmt.Println("how much longer it takes to refuse a key, in nanoseconds and in standard errors, with")
	leaks := make([]int, len(contrasts))
	for try := 0; try < tries && slices.Contains(leaks, try); try++ { // while one has leaked each time
		for i, d := range measure(contrasts, verify) {
			fmt.Printf("  %-50s %+6.2f %+7.1f\n", contrasts[i].name, d.mean, d.mean/d.err)
			if d.isLeak() {
				leaks[i]++
			}
		}
	}
	for i, n := range leaks {
		if n == tries {
			kit.Fatal("it takes another time to refuse a key with %s, %d times out of %d", contrasts[i].name, n, tries)
		}
	}

	fmt.Println("the same with a comparison that stops at the first wrong byte:")
	for try, found := 1, false; !found; try++ {
		found = true
		for i, d := range measure(contrasts, leaky) {
			fmt.Printf("  %-50s %+6.2f %+7.1f\n", contrasts[i].name, d.mean, d.mean/d.err)
			found = found && (d.isLeak() || !contrasts[i].mustBeFound)
		}
		if !found && try == tries {
			kit.Fatal("a comparison that leaks was not noticed: the measurement shows nothing")
		}
	}
	fmt.Println("refusing a key takes as long wherever it is wrong, and a comparison that leaks is noticed")
}

// forge makes keys of each kind, and a verifier that refuses them all.
func forge() (*signer.Verifier, []contrast) {
	first, second := newSecret(), newSecret()
	verifier := signer.NewVerifier(first, second)
	const (
		same = iota
		byte1
		half
		last
		elsewhere
		revoked
		older
	)
	all := []contrast{
		same:      {name: "nothing right, both"},
		byte1:     {name: "the first byte of the tag right"},
		half:      {name: "the first half of the tag right", mustBeFound: true},
		last:      {name: "all but the last byte of the tag right", mustBeFound: true},
		elsewhere: {name: "a tag that is right for another key"},
		revoked:   {name: "a UUID that is revoked"},
		older:     {name: "all but the last byte right for the second secret"},
	}
	add := func(kind int, one, other, right string) {
		c := &all[kind]
		c.one, c.other, c.right = append(c.one, one), append(c.other, other), append(c.right, right)
	}
	var list strings.Builder
	for range keys {
		key, another, under2 := mint(first), mint(first), mint(second)
		none := wrong(key, 0)
		add(same, strings.Clone(none), none, key)
		add(byte1, wrong(key, 1), none, key)
		add(half, wrong(key, tagLen/2), none, key)
		add(last, wrong(key, tagLen-1), none, key)
		moved := key[:len(key)-tagLen] + another[len(another)-tagLen:]
		add(elsewhere, moved, wrong(moved, 0), key)
		gone := another[:len(another)-tagLen] + none[len(none)-tagLen:]
		add(revoked, gone, none, another)
		fmt.Fprintln(&list, another[:len(another)-tagLen-1])
		add(older, wrong(under2, tagLen-1), wrong(under2, 0), under2)
	}
	revocations, err := signer.ParseRevocations(strings.NewReader(list.String()))
	kit.Must(err, "the list")
	verifier.SetRevocations(revocations)
	for _, c := range all {
		for _, key := range slices.Concat(c.one, c.other) {
			if _, err := verifier.Verify(key, time.Time{}); err != signer.ErrBadSignature {
				kit.Fatal("a forged key: %v", err)
			}
		}
	}
	return verifier, all
}

// wrong gives the key with other characters in its tag from there on, letters
// for letters and digits for digits.
func wrong(key string, from int) string {
	b := []byte(key)
	for i := len(key) - tagLen + from; i < len(key); i++ {
		switch c := b[i]; c {
		case 'z', 'Z':
			b[i] -= 25
		case '9':
			b[i] = '0'
		default:
			b[i]++
		}
	}
	return string(b)
}

// leak is what must not be done: it stops at the first byte that is wrong.
//
//go:noinline
func leak(key, right string) bool {
	for i := len(right) - tagLen; i < len(right); i++ {
		if key[i] != right[i] {
			return false
		}
	}
	return true
}

// difference is how much longer one kind takes than the other, for each key.
type difference struct{ mean, err float64 }

func (d difference) isLeak() bool {
	return math.Abs(d.mean) > useful && math.Abs(d.mean) > certain*d.err
}

// measure times both kinds of each contrast in each round, in random order, and
// compares what was timed in the same round: whatever slows the machine down for
// longer slows both down.
func measure(contrasts []contrast, refuse func(key, right string)) []difference {
	differences := make([][]float64, len(contrasts))
	took := make([][2]float64, len(contrasts))
	var now [keys]string
	for round := range rounds + rounds/10 {
		for _, k := range rand.Perm(2 * len(contrasts)) {
			c := &contrasts[k/2]
			for i, key := range [2][]string{c.one, c.other}[k%2] {
				now[i] = strings.Clone(key) // or what is used more often is nearer at hand
			}
			start := time.Now()
			for i, key := range now {
				refuse(key, c.right[i])
			}
			took[k/2][k%2] = float64(time.Since(start)) / keys
		}
		if round < rounds/10 {
			continue // while everything warms up
		}
		for i, t := range took {
			differences[i] = append(differences[i], t[0]-t[1])
		}
	}
	all := make([]difference, len(contrasts))
	for i, d := range differences {
		all[i] = trimmedMean(d)
	}
	return all
}

// trimmedMean leaves out a tenth at either end, where the interrupts are. What is
// left out counts for the standard error as much as what is outermost then (Tukey
// and McLaughlin).
func trimmedMean(d []float64) difference {
	slices.Sort(d)
	total := float64(len(d))
	d = d[len(d)/10 : len(d)-len(d)/10]
	n, mean, sum := float64(len(d)), 0.0, 0.0
	for _, v := range d {
		mean += v / n
	}
	for _, v := range d {
		sum += (v - mean) * (v - mean)
	}
	low, high := d[0]-mean, d[len(d)-1]-mean
	sum += (total - n) / 2 * (low*low + high*high)
	return difference{mean, math.Sqrt(sum/(total-1)) / (n / total * math.Sqrt(total))}
}

func newSecret() signer.Secret {
	secret, _ := signer.NewSecret()
	return secret
}

// mint makes a key whose tag has only letters and digits.
func mint(secret signer.Secret) string {
	for {
		key, err := signer.Mint(secret, false)
		kit.Must(err, "a key")
		if !strings.ContainsAny(key[len(key)-tagLen:], "-_") {
			return key
		}
	}
}
