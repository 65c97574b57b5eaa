//go:build unix

// Command load tests ollama-proxy under load and under attack: see the functions that have
// the names of the modes.
//
// .ci/load runs it with a directory that contains the built ollama-proxy, a mode, and an
// amount. It exits with status 1 at the first failure. The processes that it has started are
// ended by .ci/load.
package main

import (
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
)

func main() {
	if len(os.Args) < 3 {
		kit.Fatal("run .ci/load instead")
	}
	kit.Dir, kit.Timeout = os.Args[1], 30*time.Second
	os.WriteFile("/proc/self/autogroup", []byte("-15"), 0) // with autogroups, nice values only count within a group
	debug.SetGCPercent(400)                                // collects garbage less often, so that measuring costs less
	amount := func(otherwise int) int {
		if len(os.Args) < 4 {
			return otherwise
		}
		n, err := strconv.Atoi(os.Args[3])
		if err != nil || n < 1 {
			kit.Fatal("%q is not an amount", os.Args[3])
		}
		return n
	}
	switch os.Args[2] {
	case "soak":
		soak(time.Duration(amount(20)) * time.Second)
	case "greedy":
		greedy(amount(1))
	case "held":
		held()
	case "rolling":
		rolling(amount(1))
	case "stress":
		stress(time.Duration(amount(20)) * time.Second)
	case "upstream": // a process of its own, which its parent ends
		serveAnswers()
	case "attack":
		attack(os.Args[3:])
	default:
		kit.Fatal("there is no mode %q", os.Args[2])
	}
}

// descriptors returns how many files this process may have open, and each process that it
// starts.
func descriptors() int {
	var limit syscall.Rlimit
	kit.Must(syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit), "the limit on open files")
	return int(limit.Cur)
}

func mega(bytes float64) string { return fmt.Sprintf("%.0f MiB", bytes/(1<<20)) }
