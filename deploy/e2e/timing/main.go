//go:build unix

// Command timing checks that the time to refuse a key does not depend on how much of its tag
// is right: otherwise a tag could be guessed byte by byte.
//
// Keys of several kinds are refused in random order. A leak is a difference that is
// statistically certain and large enough to be exploited. It must be found three times in a
// row, since a busy machine can show one by chance. A comparison that does leak is measured
// in the same way, and must be found. .ci/timing runs the command.
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
	keys    = 16   // of each kind, which are refused one after the other and timed together
	rounds  = 6000 // in each of which every kind is timed once
	certain = 6.0  // standard errors
	useful  = 2.0  // nanoseconds: a loop over the tag takes ten times as long
	tries   = 3
	tagLen  = 43
)

// contrast holds two kinds of keys that must take the same time to refuse. Keys with the same
// index differ only as the name says. Where they differ, both have a letter or both a digit:
// the time to read these differs, and is no secret to whoever has written the key.
type contrast struct {
	name        string
	one, other  []string
	right       []string // the valid keys, for the comparison that leaks
	mustBeFound bool     // by the comparison that leaks
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

// wrong returns the key with other characters in its tag from an index on: letters for
// letters, and digits for digits.
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

// leak is a comparison that must not be used: it stops at the first byte that differs.
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

// difference returns by how much longer one kind takes than the other, for each key.
type difference struct{ mean, err float64 }

func (d difference) isLeak() bool {
	return math.Abs(d.mean) > useful && math.Abs(d.mean) > certain*d.err
}

// measure times both kinds of each contrast in each round, in random order, and compares the
// times of the same round: what slows the machine down for longer than a round affects both.
func measure(contrasts []contrast, refuse func(key, right string)) []difference {
	differences := make([][]float64, len(contrasts))
	took := make([][2]float64, len(contrasts))
	var now [keys]string
	for round := range rounds + rounds/10 {
		for _, k := range rand.Perm(2 * len(contrasts)) {
			c := &contrasts[k/2]
			for i, key := range [2][]string{c.one, c.other}[k%2] {
				now[i] = strings.Clone(key) // otherwise keys that are used more often would be in a faster cache
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

// trimmedMean returns the mean without a tenth of the values at either end, where the
// interrupts are, and its standard error, for which these values count as the outermost
// remaining ones (Tukey and McLaughlin).
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

// mint makes a key whose tag has only letters and digits, no - and no _.
func mint(secret signer.Secret) string {
	for {
		key, err := signer.Mint(secret, false)
		kit.Must(err, "a key")
		if !strings.ContainsAny(key[len(key)-tagLen:], "-_") {
			return key
		}
	}
}
