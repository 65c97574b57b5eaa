package handler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// NewLog returns the log that a Proxy writes to w. Format is text or json,
// level is debug, info, warn or error; anything else is an error.
func NewLog(w io.Writer, format, level string) (*slog.Logger, error) {
	var from slog.Level
	if err := from.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level: %q is not debug, info, warn or error", level)
	}
	options := &slog.HandlerOptions{Level: from}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, fmt.Errorf("--log-format: %q is not text or json", format)
}

// ParseSize reads a number of bytes, such as 1048576, 512KiB, 64MiB or 1GiB.
// If the text is anything else, or nothing, ParseSize returns an error.
func ParseSize(text string) (int64, error) {
	number, shift := text, 0
	for i, unit := range []string{"KiB", "MiB", "GiB"} {
		if n, ok := strings.CutSuffix(text, unit); ok {
			number, shift = n, 10*(i+1)
		}
	}
	n, err := strconv.ParseInt(number, 10, 32)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%q is not a size such as 64MiB", text)
	}
	return n << shift, nil
}

// Reachable is an address at which this machine reaches what listens on the
// given one, which may be all of its addresses.
func Reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// Listen listens on the address, a host and a port, such as 127.0.0.1:8080 or,
// for all that this machine has, 0.0.0.0:8080. If the text is no address, or
// something else listens there, or the port is not for everyone, the error says
// what to do about it.
func Listen(address string) (net.Listener, error) {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return nil, fmt.Errorf("%q is no address such as 127.0.0.1:8080", address)
	}
	l, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s is in use: take another port, or stop what listens there", address)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w: take a port from 1024 on, or run as root or with CAP_NET_BIND_SERVICE", err)
	}
	return l, err
}

// direct asks a Server of ours. The proxy of the environment has no part in that: it
// would answer for a Server that is gone, and see what there is to see of one.
var direct = &http.Client{Transport: &http.Transport{}}

// CheckReady asks the Server whose private listener is at the address whether
// it is ready. If it is not, or does not answer within three seconds,
// CheckReady returns an error.
func CheckReady(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+Reachable(address)+"/readyz", nil)
	if err != nil {
		return err
	}
	res, err := direct.Do(r)
	if err != nil {
		return fmt.Errorf("no proxy answers on --metrics-listen %s: %w", address, rootCause(err))
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s answers with status %d", address, res.StatusCode)
	}
	return nil
}
