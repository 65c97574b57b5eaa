package downstream

import (
	"log/slog"
	"sync"
)

// The kernel's table of a process's descriptors begins with 64 places and grows
// as they are used, to 256, 512 and so on. In a process with several threads the
// one that makes it grow then waits for an RCU grace period, 6 to 24 ms on an idle
// machine and seconds on a busy one. Go makes the system call socket without
// telling its scheduler, so meanwhile a processor of the scheduler's stands still,
// and with as many dials as processors everything does. So the table is grown
// once, before anything is served.

const (
	// OtherDescriptors is how many descriptors there are besides connections:
	// listeners, files, pollers, whoever reads the metrics.
	OtherDescriptors = 100

	// MaxTable bounds the table, whatever the limit on open files: 1,048,576
	// places, which are 8 MiB of the kernel's memory. Some containers may open
	// a thousand times as many files.
	MaxTable = 1 << 20
)

// growing is held while the highest descriptor is open: a second one may not be.
var growing sync.Mutex

// GrowDescriptorTable makes the process's table of descriptors large enough for
// so many, or for as many as it may open. It returns when that is done. A table
// that does not grow is none the worse than before, so that goes to the debug log.
func GrowDescriptorTable(most int, log *slog.Logger) {
	most = min(most, Descriptors(), MaxTable)
	if most <= 0 {
		return
	}
	growing.Lock()
	defer growing.Unlock()
	if err := openDescriptor(most - 1); err != nil {
		log.Debug("the table of descriptors cannot be grown beforehand", "descriptors", most, "error", err)
	}
}
