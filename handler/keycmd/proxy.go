package keycmd

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/status"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

const (
	// askTimeout bounds how long a command waits for the proxy of this machine: half
	// a second. Its answer is good to know, and nothing depends on it.
	askTimeout = 500 * time.Millisecond

	// clockSlack is by how much a file's time may be behind the clock: 100 ms.
	clockSlack = 100 * time.Millisecond
)

// proxyState is what the proxy of this machine says of itself.
type proxyState struct {
	answers bool
	status.Status
}

// askProxy asks the proxy of this machine. If there is none, or what answers is none,
// nothing is known.
func (p Places) askProxy(ctx context.Context) (state proxyState) {
	if p.Proxy == "" {
		return state
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	answer, err := status.Ask(ctx, p.Proxy)
	return proxyState{err == nil, answer}
}

// hasRead reports whether the proxy has looked at its source of that name since the
// file had that time. If not, it may have other content because it has not looked.
func (state *proxyState) hasRead(source string, changed time.Time) bool {
	for _, r := range state.Reloads {
		if r.Source == source {
			return changed.Add(clockSlack).Before(r.At)
		}
	}
	return true
}

// differs says what the proxy of this machine has that is other than what the command
// has used: secrets, or a list of revoked keys. If there is no proxy, or it has the same,
// differs returns "". So it does if the proxy has not read the list since it changed, as
// when keys are revoked one after the other. Secrets change seldom, and until the proxy
// has read new ones, it refuses their keys.
func (p Places) differs(ctx context.Context, found signer.Found, used list) string {
	state := p.askProxy(ctx)
	if !state.answers {
		return ""
	}
	what := ""
	if len(found.Secrets) > 0 && state.SecretFingerprint != hash(signer.Fingerprint(found.Secrets)) {
		from, changed := found.Path, time.Time{}
		if from == "" {
			from = signer.SecretVariable
		} else if info, err := os.Stat(from); err == nil {
			changed = info.ModTime()
		}
		what = "other secrets than " + from
		if !state.hasRead("secrets", changed) {
			what += ", which it has not read since they changed"
		}
	}
	if used.location != "" && state.RevocationsHash != hash(used.Hash()) && state.hasRead("revocations", used.changed) {
		if what != "" {
			what += ", and "
		}
		what += "another list of revoked keys than " + nameOf(used.location)
	}
	if what == "" {
		return ""
	}
	return fmt.Sprintf("The proxy on %s has %s. Was it started by another user, or with other files?", p.Proxy, what)
}

// hash is a fingerprint as a Status has it.
func hash(n uint64) string { return fmt.Sprintf("%012x", n) }

// say writes a line, unless it is empty.
func (s Streams) say(line string) {
	if line != "" {
		fmt.Fprintln(s.Err, line)
	}
}

// nameOf is a path, or a URL without what may be secret in it.
func nameOf(location string) string {
	source, err := signer.NewSource(location)
	if err != nil {
		return "this one"
	}
	return source.String()
}
