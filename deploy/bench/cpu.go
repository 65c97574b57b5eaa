//go:build linux

package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// family lists a process and all that descend from it.
func family(pid int) []int {
	all := []int{pid}
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, task := range tasks {
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
		for _, child := range strings.Fields(string(children)) {
			if n, err := strconv.Atoi(child); err == nil {
				all = append(all, family(n)...)
			}
		}
	}
	return all
}

// cpuOf is the CPU time that the processes have used, all their threads
// together, in user mode and in the kernel. It comes from the processes' own
// clocks: those count nanoseconds, where /proc/PID/stat counts hundredths of
// a second.
func cpuOf(pids []int) (total time.Duration, err error) {
	for _, pid := range pids {
		const cpuclockSched = 2
		clock := ^pid<<3 | cpuclockSched // see clock_getcpuclockid(3)
		var used syscall.Timespec
		if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, uintptr(clock), uintptr(unsafe.Pointer(&used)), 0); errno != 0 {
			return 0, fmt.Errorf("the CPU clock of process %d: %w", pid, errno)
		}
		total += time.Duration(used.Nano())
	}
	return total, nil
}

// memoryOf is the processes' resident memory in bytes; what they share counts
// once.
func memoryOf(pids []int) (total int64, err error) {
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			return 0, err
		}
		_, after, found := strings.Cut(string(text), "\nPss:")
		fields := strings.Fields(after)
		if !found || len(fields) == 0 {
			return 0, fmt.Errorf("process %d: smaps_rollup says nothing of Pss", pid)
		}
		kib, err := strconv.ParseInt(fields[0], 10, 64)
		if err != nil {
			return 0, err
		}
		total += kib << 10
	}
	return total, nil
}
