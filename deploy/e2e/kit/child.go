//go:build unix

package kit

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"
)

// A Child is a child process that runs until this program ends it. If it ends by itself,
// the program ends by [Fatal]. Its output goes to a log file.
type Child struct {
	*exec.Cmd
	Name    string
	LogFile string        // NAME.log in Dir, to which all children of this name append
	Ending  atomic.Bool   // set before it is ended, so that its end is no failure
	Gone    chan struct{} // closed when it has ended

	from int64 // the offset in the log file at which its output begins
}

// Start starts a program as a child with [Environment]. If change is not nil, it may change
// the command first.
func Start(name string, change func(*exec.Cmd), program string, args ...string) *Child {
	p := &Child{Name: name, LogFile: filepath.Join(Dir, name+".log"), Gone: make(chan struct{})}
	log, err := os.OpenFile(p.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	Must(err, "a log")
	defer log.Close()
	p.from, err = log.Seek(0, io.SeekEnd)
	Must(err, "a log")
	p.Cmd = exec.Command(program, args...)
	p.Env, p.Stdout, p.Stderr = Environment(), log, log
	if change != nil {
		change(p.Cmd)
	}
	Must(p.Start(), "starting %s", name)
	go func() {
		p.Wait()
		close(p.Gone)
		if !p.Ending.Load() {
			Fatal("%s has ended by itself: %s", name, p.ProcessState)
		}
	}()
	return p
}

// Logged returns what the child has printed so far.
func (p *Child) Logged() string { return ReadFile(p.LogFile)[p.from:] }

// Stop ends the child by SIGTERM and returns how long that took. It must exit with status 0
// within [Timeout].
func (p *Child) Stop() time.Duration {
	from := time.Now()
	p.Terminate()
	p.AwaitEnd()
	return time.Since(from)
}

// Terminate sends SIGTERM and does not wait: see [Child.AwaitEnd].
func (p *Child) Terminate() {
	p.Ending.Store(true)
	Must(p.Process.Signal(syscall.SIGTERM), "SIGTERM to %s", p.Name)
}

// AwaitEnd waits until the child has ended, which must be within [Timeout] and with status
// 0.
func (p *Child) AwaitEnd() {
	select {
	case <-p.Gone:
	case <-time.After(Timeout):
		Fatal("%s does not end", p.Name)
	}
	if !p.ProcessState.Success() {
		Fatal("%s ended with %s", p.Name, p.ProcessState)
	}
}

// Kill ends the child by SIGKILL, if it has not ended before, and waits for its end.
func (p *Child) Kill() {
	p.Ending.Store(true)
	if err := p.Process.Kill(); !errors.Is(err, os.ErrProcessDone) {
		Must(err, "SIGKILL to %s", p.Name)
	}
	<-p.Gone
}
