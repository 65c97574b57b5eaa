package server

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/local"
)

// NewLog returns a logger that writes to w. Format is text or json, and level is debug,
// info, warn or error. For anything else NewLog returns an error. Text shows durations
// with their unit, such as 1.5s; in JSON their names end in _seconds.
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
		options.ReplaceAttr = nameUnit
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, fmt.Errorf("--log-format: %q is not text or json", format)
}

// leastSize is the least that ParseSize takes: 1 KiB. Whoever writes 64 means 64 of
// some larger unit.
const leastSize = 1 << 10

// nameUnit makes a duration, which JSON would show as a bare number of nanoseconds, a
// number of seconds that says so in its name.
func nameUnit(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		return slog.Float64(a.Key+"_seconds", a.Value.Duration().Seconds())
	}
	return a
}

// ParseSize reads a number of bytes, such as 1048576, 64MiB, 64MB, 64M or 10g: units in
// any letter case, each 1,024 times the one before it. If the text is anything else, or
// comes to less than 1 KiB or more than an int64 holds, ParseSize returns an error.
func ParseSize(text string) (int64, error) {
	digits := len(text) - len(strings.TrimLeft(text, "0123456789"))
	unit := strings.ToLower(strings.TrimLeft(text[digits:], " "))
	shift := -1
	for i, units := range [][]string{{"", "b"}, {"k", "kb", "kib"}, {"m", "mb", "mib"}, {"g", "gb", "gib"}, {"t", "tb", "tib"}} {
		if slices.Contains(units, unit) {
			shift = 10 * i
		}
	}
	n, err := strconv.ParseInt(text[:digits], 10, 64)
	switch {
	case err != nil || shift < 0 || n > math.MaxInt64>>shift:
		return 0, fmt.Errorf("%q is not a size such as 64MiB, in KiB, MiB or GiB", text)
	case n<<shift < leastSize:
		return 0, fmt.Errorf("%q is less than 1KiB: give it a unit, such as 64MiB", text)
	}
	return n << shift, nil
}

// CheckReady asks the Server whose private listener is at the address, a host and a port,
// whether it is ready. If it is not, or does not answer within 3 seconds, CheckReady
// returns an error.
func CheckReady(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+local.Reachable(address)+"/readyz", nil)
	if err != nil {
		return err
	}
	res, err := local.Client.Do(r)
	if err != nil {
		return fmt.Errorf("no proxy answers on --metrics-listen %s: %w", address, local.RootCause(err))
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s answers with status %d", address, res.StatusCode)
	}
	return nil
}
