//go:build unix

package kit

import (
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// CPU returns the processor time that the child has used, user and system, in steps of 10 ms.
func (p *Child) CPU() time.Duration {
	_, rest, _ := strings.Cut(ReadFile(fmt.Sprintf("/proc/%d/stat", p.Process.Pid)), ") ")
	fields := strings.Fields(rest)
	return time.Duration(Atoi(fields[11])+Atoi(fields[12])) * 10 * time.Millisecond // user and system time
}

// Peak returns the most memory that the child has had resident, in bytes.
func (p *Child) Peak() float64 { return p.memory("VmHWM") }

// Resident returns how much memory the child has resident now, in bytes.
func (p *Child) Resident() float64 { return p.memory("VmRSS") }

// memory returns a line of /proc/PID/status in bytes.
func (p *Child) memory(what string) float64 {
	m := regexp.MustCompile(what + `:\s+(\d+) kB`).FindStringSubmatch(ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid)))
	if m == nil {
		Fatal("/proc has no %s", what)
	}
	return float64(Atoi(m[1])) * 1024
}

// Nice sets the nice value of a child that was just started, and returns the child. A
// negative value, for a process that is measured, needs root; without it, nothing changes.
func (p *Child) Nice(value int) *Child {
	syscall.Setpriority(syscall.PRIO_PROCESS, p.Process.Pid, value)
	return p
}
