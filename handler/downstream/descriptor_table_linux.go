package downstream

import (
	"os"
	"syscall"
)

// openDescriptor opens a descriptor with the given number, or the next one that
// is free, and closes it. The table keeps the size that it had to get for that.
func openDescriptor(number int) error {
	some, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC) // needs no file
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	defer syscall.Close(some)
	// As a Syscall, so that the scheduler knows that it may take long.
	high, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(some), syscall.F_DUPFD_CLOEXEC, uintptr(number))
	if errno != 0 {
		return os.NewSyscallError("fcntl", errno)
	}
	return os.NewSyscallError("close", syscall.Close(int(high)))
}
