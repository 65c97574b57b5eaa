//go:build linux

package main

import (
	"math"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestRatiosAreOfTheSameRound(t *testing.T) {
	s := scenario{name: "s", measures: []measure{{figure: "cpu", about: "CPU"}, {figure: "p50", about: "delay", added: true}}}
	r := results{}
	// The machine is twice as slow in the second round, and the third is void for b.
	for _, slow := range []float64{1, 2, 1} {
		r.add("s", "a", figures{"cpu": 3 * slow, "p50": 10 * slow})
		r.add("s", direct, figures{"p50": 4 * slow})
	}
	r.add("s", "b", figures{"cpu": 2, "p50": 6})
	r.add("s", "b", figures{"cpu": 4, "p50": 12})
	r.add("s", "b", nil)

	if got := spreadOf(r.ratios(s, s.measures[0], "a", "b", 3)); got != (spread{1.5, 1.5, 1.5}) {
		t.Errorf("the ratio of CPU is %v", got)
	}
	if got := spreadOf(r.ratios(s, s.measures[1], "a", "b", 3)); got != (spread{3, 3, 3}) {
		t.Errorf("the ratio of what is added is %v", got)
	}
	var out strings.Builder
	r.tables(&out, []scenario{s}, []peer{{name: "a", about: "A"}, {name: "b", about: "B"}, {name: "c", about: "C"}}, 3)
	for _, line := range []string{"| CPU | 3.00 | 3.00 |  |", "| delay | 6.00 | 3.00 |  |", "| CPU | 1.50 (1.50–1.50) |  |"} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("%q is not in%s", line, &out)
		}
	}
}

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   spread
	}{
		{[]float64{3, 1, 2}, spread{2, 1, 3}},
		{[]float64{4, 1, 2, 3}, spread{2.5, 1, 4}},
		{[]float64{math.NaN(), 7}, spread{7, 7, 7}},
	} {
		if got := spreadOf(c.values); got != c.want {
			t.Errorf("of %v it is %v", c.values, got)
		}
	}
	if got := spreadOf([]float64{math.NaN()}); !math.IsNaN(got.median) || got.String() != "" {
		t.Errorf("of nothing it is %v", got)
	}
}

func TestQuantiles(t *testing.T) {
	var delays []delay
	for i := range 1000 { // in the time: 1 µs … 800 µs
		delays = append(delays, delay{at: time.Duration(i), took: time.Duration(i-99) * time.Microsecond})
	}
	f := figures{}
	if err := f.quantiles(delays, 100, 899); err != nil {
		t.Fatal(err)
	}
	if f["p50"] != 400 || f["p99"] != 792 {
		t.Errorf("%v", f)
	}
	if err := f.quantiles(delays, 2000, 3000); err == nil {
		t.Error("there are quantiles of nothing")
	}
}

func TestCPUIsWhatTheKernelCounts(t *testing.T) {
	counted := func() time.Duration {
		var used syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
			t.Fatal(err)
		}
		return time.Duration(used.Utime.Nano() + used.Stime.Nano())
	}
	for before := counted(); counted() < before+20*time.Millisecond; { // work
	}
	const rounding = 2 * time.Microsecond
	least := counted()
	got, err := cpuOf([]int{os.Getpid()})
	if most := counted() + rounding; err != nil || got < least || got > most {
		t.Errorf("it is %v (%v), not from %v to %v", got, err, least, most)
	}
	if _, err := cpuOf([]int{1 << 22}); err == nil {
		t.Error("a process that is not there has a CPU time")
	}
}

func TestMemoryIsWhatIsTouched(t *testing.T) {
	before, err := memoryOf([]int{os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	const size = 64 << 20
	pages, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Munmap(pages)
	for i := 0; i < len(pages)/2; i += os.Getpagesize() {
		pages[i] = 1
	}
	after, err := memoryOf([]int{os.Getpid()})
	if grown := after - before; err != nil || grown < size/2-size/8 || grown > size/2+size/4 {
		t.Errorf("it grew by %d KiB (%v)", grown>>10, err)
	}
}
