//go:build linux

package main

import (
	"os"
	"syscall"
)

// growDescriptorTable makes this process's table of descriptors large enough for
// so many, or for as many as it may open. If the kernel had to do that under load,
// it would stop a thread of ours for a grace period of RCU, which would count as
// the proxy's.
func growDescriptorTable(descriptors int) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return os.NewSyscallError("getrlimit", err)
	}
	highest := min(uint64(descriptors), limit.Cur) - 1
	some, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC) // needs no file
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	defer syscall.Close(some)
	high, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(some), syscall.F_DUPFD_CLOEXEC, uintptr(highest))
	if errno != 0 {
		return os.NewSyscallError("fcntl", errno)
	}
	return os.NewSyscallError("close", syscall.Close(int(high)))
}
