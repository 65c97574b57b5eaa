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

// String is a ratio in two digits, with its spread.
func (s spread) String() string {
	if math.IsNaN(s.median) {
		return ""
	}
	return fmt.Sprintf("%.2f (%.2f–%.2f)", s.median, s.least, s.most)
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

// tables writes the medians, how the first peer compares with the others, and
// what access logs cost.
func (r results) tables(w io.Writer, scenarios []scenario, peers []peer, rounds int) {
	var silent, logging []peer
	for _, p := range peers {
		if p.log {
			logging = append(logging, p)
		} else {
			silent = append(silent, p)
		}
	}
	tableHead(w, "median", silent)
	eachMeasure(scenarios, func(s scenario, m measure) {
		fmt.Fprintf(w, "| %s |", m.about)
		for _, p := range silent {
			fmt.Fprintf(w, " %s |", number(spreadOf(r.values(s, m, p.name, rounds)).median))
		}
		fmt.Fprintln(w)
	})
	if len(silent) > 1 {
		ours, others := silent[0], silent[1:]
		tableHead(w, ours.about+" ÷", others)
		eachMeasure(scenarios, func(s scenario, m measure) {
			if m.free {
				return
			}
			fmt.Fprintf(w, "| %s |", m.about)
			for _, p := range others {
				fmt.Fprintf(w, " %s |", spreadOf(r.ratios(s, m, ours.name, p.name, rounds)))
			}
			fmt.Fprintln(w)
		})
	}
	if len(logging) > 0 {
		tableHead(w, "with an access log", logging)
		eachMeasure(scenarios, func(s scenario, m measure) {
			if !s.logs || m.free {
				return
			}
			fmt.Fprintf(w, "| %s |", m.about)
			for _, p := range logging {
				fmt.Fprintf(w, " %s |", number(spreadOf(r.values(s, m, p.name, rounds)).median))
			}
			fmt.Fprint(w, "\n| ÷ without |")
			for _, p := range logging {
				fmt.Fprintf(w, " %s |", spreadOf(r.ratios(s, m, p.name, strings.TrimSuffix(p.name, "-log"), rounds)))
			}
			fmt.Fprintln(w)
		})
	}
}

func tableHead(w io.Writer, first string, peers []peer) {
	fmt.Fprintf(w, "\n| %s |", first)
	for _, p := range peers {
		fmt.Fprintf(w, " %s |", p.about)
	}
	fmt.Fprintf(w, "\n|---|%s\n", strings.Repeat("---:|", len(peers)))
}

func eachMeasure(scenarios []scenario, do func(scenario, measure)) {
	for _, s := range scenarios {
		for _, m := range s.measures {
			do(s, m)
		}
	}
}
