//go:build linux

// Command bench compares ollama-proxy with other proxies under the same load:
// see README.md. It is started by deploy/bench/run.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
)

// bench is one run of the whole.
type bench struct {
	dir      string
	core     string // of the proxies
	size     size
	poller   *poller
	upstream *upstream
	keys     *keyring
	narrowed *keyring // keys with caveats
	runs     int
}

func main() {
	if err := compare(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func compare() error {
	dir := flag.String("dir", "", "keep files in `DIRECTORY`")
	core := flag.String("core", "0", "pin the proxies to core `N`")
	quick := flag.Bool("quick", false, "short runs of the most telling peers: two minutes")
	smoke := flag.Bool("smoke", false, "one tiny round, to see that everything works; no figures")
	only := flag.String("only", "", "only these `SCENARIOS`, such as small,chunks")
	with := flag.String("peers", "", "only these `PEERS`, such as ours,nginx; the others are compared with the first")
	rounds := flag.Int("rounds", 0, "so many rounds")
	window := flag.Duration("time", 0, "measure for so long in each run")
	flag.Usage = usage
	flag.Parse()
	if flag.NArg() > 0 || *dir == "" {
		return errors.New("run deploy/bench/run instead; --help says with what")
	}

	chosen, err := pick(*only, scenarios, func(s scenario) string { return s.name })
	if err != nil {
		return err
	}
	taking, err := pick(*with, peers(), func(p peer) string { return p.name })
	if err != nil {
		return err
	}
	b := &bench{dir: *dir, core: *core, size: fullSize}
	if *quick {
		b.size = quickSize
		if *with == "" {
			taking = slices.DeleteFunc(taking, func(p peer) bool { return p.name == "haproxy" || p.name == "nginx-njs" || p.log })
		}
	}
	if *smoke {
		b.size = smokeSize
	}
	if *rounds > 0 {
		b.size.rounds = *rounds
	}
	if *window > 0 {
		b.size.window = *window
	}
	for _, p := range taking {
		if _, err := exec.LookPath(p.program); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}

	// Each stream has two ends in this process, its client's and the upstream's.
	if err := growDescriptorTable(2*max(b.size.slow, b.size.streams) + 1000); err != nil {
		return err
	}
	debug.SetGCPercent(-1) // between runs is time enough
	debug.SetMemoryLimit(2 << 30)
	if b.poller, err = startPoller(); err != nil {
		return err
	}
	if b.upstream, err = startUpstream(b.poller); err != nil {
		return err
	}
	if b.keys, b.narrowed, err = makeKeys(os.Getenv("OURS"), b.dir); err != nil {
		return err
	}
	if !*smoke {
		fmt.Println(surroundings(b, taking))
	}
	all, void := b.rounds(chosen, taking, func(of string, found figures) {
		if *smoke {
			fmt.Fprintf(os.Stderr, "%s: ok\n", of)
			return
		}
		fmt.Fprintf(os.Stderr, "%s: %s\n", of, found)
	})
	if void > 0 {
		err = fmt.Errorf("%d runs are void: something went wrong in them", void)
	}
	if !*smoke {
		all.tables(os.Stdout, chosen, taking, b.size.rounds)
	} else if err == nil {
		fmt.Printf("%d runs of %d scenarios: every proxy refused bad keys, passed events one by one, and changed no byte\n", b.runs, len(chosen))
	}
	return err
}

func usage() {
	out := flag.CommandLine.Output()
	fmt.Fprint(out, "deploy/bench/run [flags]\n\nFlags:\n")
	flag.PrintDefaults()
	fmt.Fprint(out, "\nScenarios:\n")
	for _, s := range scenarios {
		fmt.Fprintf(out, "  %-14s %s\n", s.name, s.about)
	}
	fmt.Fprint(out, "\nPeers:\n")
	for _, p := range peers() {
		fmt.Fprintf(out, "  %-14s %s\n", p.name, p.about)
	}
}

// rounds lets all take their turn, several times. Within a round a scenario's
// runs follow each other, each time beginning with another peer.
func (b *bench) rounds(scenarios []scenario, peers []peer, done func(of string, found figures)) (all results, void int) {
	all = results{}
	for round := range b.size.rounds {
		for _, s := range scenarios {
			order := make([]*peer, 0, len(peers)+1)
			for i := range peers {
				if p := &peers[(i+round)%len(peers)]; (!p.log || s.logs) && (!p.flat || !s.narrowed) {
					order = append(order, p)
				}
			}
			if s.direct {
				order = append(order, nil)
			}
			for _, p := range order {
				name := direct
				if p != nil {
					name = p.name
				}
				runtime.GC()
				found, err := b.run(s, p)
				all.add(s.name, name, found)
				of := fmt.Sprintf("round %d of %d, %s, %s", round+1, b.size.rounds, s.name, name)
				if err != nil {
					void++
					fmt.Fprintf(os.Stderr, "%s: VOID: %v\n", of, err)
					continue
				}
				done(of, found)
			}
		}
	}
	return all, void
}

// surroundings says what the figures depend on.
func surroundings(b *bench, peers []peer) string {
	cpu := "unknown CPU"
	info, _ := os.ReadFile("/proc/cpuinfo")
	if _, after, ok := strings.Cut(string(info), "model name"); ok {
		cpu, _, _ = strings.Cut(strings.TrimLeft(after, "\t :"), "\n")
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	var versions []string
	for _, p := range peers {
		if v := p.versionText(); !slices.Contains(versions, v) {
			versions = append(versions, v)
		}
	}
	return fmt.Sprintf("%s, Linux %s. The proxy has core %s for itself, load and upstream share another.\n%s.\n%d rounds, %v each.",
		cpu, strings.TrimSpace(string(kernel)), b.core, strings.Join(versions, ", "), b.size.rounds, b.size.window)
}

// pick gives those of all that are named in the list, or all if it is empty.
func pick[T any](list string, all []T, name func(T) string) (picked []T, err error) {
	if list == "" {
		return all, nil
	}
	for want := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(all, func(t T) bool { return name(t) == want })
		if i < 0 {
			return nil, fmt.Errorf("there is no %s, but %s", want, strings.Join(names(all, name), ", "))
		}
		picked = append(picked, all[i])
	}
	return picked, nil
}

func names[T any](all []T, name func(T) string) (list []string) {
	for _, t := range all {
		list = append(list, name(t))
	}
	return list
}
