package server

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/local"
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

// CheckReady asks the Server whose private listener is at the address whether
// it is ready. If it is not, or does not answer within three seconds,
// CheckReady returns an error.
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
