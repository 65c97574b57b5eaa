//go:build linux

package main

import (
	"os"
	"syscall"
	"time"
	"unsafe"
)

// alarm wakes a goroutine to the microsecond. Go's own timers are rounded to
// milliseconds where the process would sleep meanwhile; a timerfd wakes it
// through the poller, as a socket does.
type alarm struct{ file *os.File }

func newAlarm() (*alarm, error) {
	const clockMonotonic = 1
	fd, _, errno := syscall.Syscall(syscall.SYS_TIMERFD_CREATE, clockMonotonic, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if errno != 0 {
		return nil, os.NewSyscallError("timerfd_create", errno)
	}
	return &alarm{os.NewFile(fd, "timerfd")}, nil
}

func (a *alarm) close() { a.file.Close() }

// until sleeps until a moment, if it is still to come.
func (a *alarm) until(moment time.Time) error {
	d := time.Until(moment)
	if d <= 0 {
		return nil
	}
	setting := struct{ interval, value syscall.Timespec }{value: syscall.NsecToTimespec(int64(d))}
	raw, err := a.file.SyscallConn()
	if err != nil {
		return err
	}
	var errno syscall.Errno
	if err := raw.Control(func(fd uintptr) {
		_, _, errno = syscall.Syscall6(syscall.SYS_TIMERFD_SETTIME, fd, 0, uintptr(unsafe.Pointer(&setting)), 0, 0, 0)
	}); err != nil {
		return err
	}
	if errno != 0 {
		return os.NewSyscallError("timerfd_settime", errno)
	}
	var expirations [8]byte
	_, err = a.file.Read(expirations[:])
	return err
}
