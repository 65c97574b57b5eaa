//go:build linux

package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// results are the figures of all runs: of a void run there are none.
type results map[string]map[string][]figures // by scenario, by peer, one a round

func (r results) add(scenario, peer string, f figures) {
	if r[scenario] == nil {
		r[scenario] = map[string][]figures{}
	}
	r[scenario][peer] = append(r[scenario][peer], f)
}

// value is the measure of a peer in a round, or NaN.
func (r results) value(s scenario, m measure, peer string, round int) float64 {
	get := func(peer string) float64 {
		rounds := r[s.name][peer]
		if round >= len(rounds) || rounds[round] == nil {
			return math.NaN()
		}
		if v, ok := rounds[round][m.figure]; ok {
			return v
		}
		return math.NaN()
	}
	if m.added {
		return get(peer) - get(direct)
	}
	return get(peer)
}

// spread is the median of some figures, with the least and the greatest.
type spread struct{ median, least, most float64 }

// spreadOf leaves out NaNs. It is all NaN if there is nothing else.
func spreadOf(values []float64) spread {
	values = slices.DeleteFunc(slices.Clone(values), math.IsNaN)
	if len(values) == 0 {
		return spread{math.NaN(), math.NaN(), math.NaN()}
	}
	slices.Sort(values)
	n := len(values)
	return spread{(values[(n-1)/2] + values[n/2]) / 2, values[0], values[n-1]}
}

// values are the measures of a peer, one a round.
func (r results) values(s scenario, m measure, peer string, rounds int) (all []float64) {
	for round := range rounds {
		all = append(all, r.value(s, m, peer, round))
	}
	return all
}

// ratios compare two peers round by round: what drifts between the rounds is
// in both of them, and drops out.
func (r results) ratios(s scenario, m measure, of, to string, rounds int) (all []float64) {
	for round := range rounds {
		all = append(all, r.value(s, m, of, round)/r.value(s, m, to, round))
	}
	return all
}

// tables writes the medians, and how the first peer compares with the others.
func (r results) tables(w io.Writer, scenarios []scenario, peers []peer, rounds int) {
	header := func(first string, peers []peer) {
		fmt.Fprintf(w, "\n| %s |", first)
		for _, p := range peers {
			fmt.Fprintf(w, " %s |", p.about)
		}
		fmt.Fprintf(w, "\n|---|%s\n", strings.Repeat("---:|", len(peers)))
	}
	header("median", peers)
	for _, s := range scenarios {
		for _, m := range s.measures {
			fmt.Fprintf(w, "| %s |", m.about)
			for _, p := range peers {
				fmt.Fprintf(w, " %s |", number(spreadOf(r.values(s, m, p.name, rounds)).median))
			}
			fmt.Fprintln(w)
		}
	}
	if len(peers) < 2 {
		return
	}
	ours, others := peers[0], peers[1:]
	header(ours.about+" ÷", others)
	for _, s := range scenarios {
		for _, m := range s.measures {
			if m.free {
				continue
			}
			fmt.Fprintf(w, "| %s |", m.about)
			for _, p := range others {
				ratio := spreadOf(r.ratios(s, m, ours.name, p.name, rounds))
				if math.IsNaN(ratio.median) {
					fmt.Fprint(w, " |")
					continue
				}
				fmt.Fprintf(w, " %.2f (%.2f–%.2f) |", ratio.median, ratio.least, ratio.most)
			}
			fmt.Fprintln(w)
		}
	}
}

// number is a figure in three digits or as many as stand before the point.
func number(v float64) string {
	switch {
	case math.IsNaN(v):
		return ""
	case math.Abs(v) >= 100:
		return fmt.Sprintf("%.0f", v)
	case math.Abs(v) >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
