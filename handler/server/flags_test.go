package server_test

import (
	"math"
	"strings"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler/server"
)

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"1048576": 1 << 20, "1024": 1 << 10, "1024b": 1 << 10,
		"512KiB": 512 << 10, "64MiB": 64 << 20, "1GiB": 1 << 30, "2TiB": 2 << 40,
		"64MB": 64 << 20, "10GB": 10 << 30, "64M": 64 << 20, "64m": 64 << 20, "1g": 1 << 30, "64 MiB": 64 << 20, "64mib": 64 << 20, "5K": 5 << 10,
		"9223372036854775807": math.MaxInt64, "8388607TiB": 8388607 << 40,
	} {
		if got, err := server.ParseSize(text); got != want || err != nil {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for text, says := range map[string]string{
		"64": "less than 1KiB: give it a unit", "0": "less than 1KiB", "1023": "less than 1KiB", "64B": "less than 1KiB",
		"": "not a size", "MiB": "not a size", "-1": "not a size", "+1": "not a size", "1.5GiB": "not a size", "64MiBs": "not a size", "64 parsecs": "not a size",
		"1e9": "not a size", "0x1000": "not a size", "64Mbit": "not a size", " 64MiB": "not a size", "unlimited": "not a size", "64MiB,": "not a size",
		"9223372036854775808": "not a size", "8388608TiB": "not a size",
	} {
		if got, err := server.ParseSize(text); got != 0 || err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "MiB") {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
}
