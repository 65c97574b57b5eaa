package downstream

import (
	"os"
	"syscall"
)

// openDescriptor opens a file descriptor with the given number, or the next free one,
// and closes it. That grows the table, which never shrinks again.
func openDescriptor(number int) error {
	some, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC) // needs no file
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	defer syscall.Close(some)
	// Syscall, unlike RawSyscall, tells the scheduler that the call may take long.
	high, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(some), syscall.F_DUPFD_CLOEXEC, uintptr(number))
	if errno != 0 {
		return os.NewSyscallError("fcntl", errno)
	}
	return os.NewSyscallError("close", syscall.Close(int(high)))
}
