package downstream

import (
	"log/slog"
	"sync"
)

// Linux keeps the file descriptors of a process in a table, which begins with 64 places
// and grows as they are used, to 256, 512 and so on. In a process with several threads,
// the thread that makes the table grow waits for an RCU grace period: 6 to 24 ms on an
// idle machine, seconds on a busy one. Go makes the system call socket without telling
// its scheduler, so one of the scheduler's processors stands still meanwhile, and with
// as many dials as processors the whole process does. So the table is grown once, before
// anything is served.

const (
	// OtherDescriptors is how many descriptors to expect besides the connections of
	// clients and to Ollama: listeners, files, pollers, connections to the private
	// listener.
	OtherDescriptors = 100

	// MaxTable bounds the table, whatever the limit on open files: 1,048,576
	// places, which are 8 MiB of the kernel's memory. Some containers may open
	// a thousand times as many files.
	MaxTable = 1 << 20
)

// growing is held while the highest descriptor is open: no second one can be.
var growing sync.Mutex

// GrowDescriptorTable makes the process's table of file descriptors large enough for
// the given number of them, at most for [Descriptors] or [MaxTable], and returns when
// that is done. If it fails, the table grows later, on demand; so the failure only goes
// to the debug log. Elsewhere than on Linux nothing happens.
func GrowDescriptorTable(most int, log *slog.Logger) {
	most = min(most, Descriptors(), MaxTable)
	if most <= 0 {
		return
	}
	growing.Lock()
	defer growing.Unlock()
	if err := openDescriptor(most - 1); err != nil {
		log.Debug("cannot grow the table of file descriptors in advance: it will grow on demand", "descriptors", most, "error", err)
	}
}
