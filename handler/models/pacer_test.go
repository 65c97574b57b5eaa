package models_test

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/models"
)

// slow takes a while for each read.
type slow struct {
	io.Reader
	takes time.Duration
}

func (s slow) Read(b []byte) (int, error) {
	time.Sleep(s.takes)
	return s.Reader.Read(b)
}

// TestPacedReaderPausesDuringLongWork: as long as it has worked, and not at all in short
// work.
func TestPacedReaderPausesDuringLongWork(t *testing.T) {
	for takes, want := range map[time.Duration]time.Duration{
		time.Hour:              10*time.Hour + 9*10*time.Millisecond, // nobody works for so long: the process was stopped
		5 * time.Millisecond:   (10 + 9) * 5 * time.Millisecond,      // ten reads, the one of EOF included, and a pause between each two
		500 * time.Microsecond: 5*time.Millisecond + 4*time.Millisecond,
		100 * time.Microsecond: time.Millisecond + 600*time.Microsecond,
	} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			text, err := io.ReadAll(models.NewPacedReader(slow{iotest.OneByteReader(strings.NewReader("nine byte")), takes}))
			if took := time.Since(start); string(text) != "nine byte" || err != nil || took != want {
				t.Errorf("%q, %v, with %v each took %v, not %v", text, err, takes, took, want)
			}
		})
	}
}
