package connect

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/ollama-proxy/ollama-proxy/handler/api"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

const (
	// lookTime bounds one look at the remote: 5 s.
	lookTime = 5 * time.Second

	// After this time a request looks at the remote again, if the last look did not
	// find an ollama-proxy that accepts children of the key.
	whileDown    = 2 * time.Second
	whileRefused = time.Minute
	whileOther   = 10 * time.Minute

	// maxWords bounds what is logged of a remote's own words: 200 characters.
	maxWords = 200
)

// look asks the remote what it is, logs what it finds in one line, and returns the key to
// send. It sends three requests at most:
//
//   - without a key, for the version: an ollama-proxy refuses with 401, an Ollama tells
//     it. The Date of the answer is the remote's time.
//   - with a child of the key. If that is accepted, the remote is an ollama-proxy.
//   - with the key itself, if the child was refused.
//
// The requests with a key ask for /api/status, which an ollama-proxy answers without
// Ollama. If an Ollama is named, they ask for its version: then the proxy says whether it
// knows the name. Where a child is enough, the key itself does not leave this machine.
func (s *keySource) look(ctx context.Context) *grant {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	s.clock = reading{}
	a, err := s.ask(ctx, "")
	switch {
	case err != nil:
		return s.down(err)
	case !a.wantsKey:
		s.tell(slog.LevelWarn, a.withoutProxy(s.o.Remote), "status", a.status)
		if a.status >= 500 {
			return s.asItIs(whileDown)
		}
		return s.asItIs(whileOther)
	}
	if child, err := s.child(a.date); err == nil && !a.date.IsZero() {
		b, err := s.ask(ctx, child.key)
		if err != nil {
			return s.down(err)
		}
		if b.status != http.StatusUnauthorized {
			s.clock = reading{a.date, a.at}
			s.tellAccepted(b, "the remote accepts the key")
			return child
		}
	}
	b, err := s.ask(ctx, s.o.Key)
	switch {
	case err != nil:
		return s.down(err)
	case b.status == http.StatusUnauthorized:
		s.tell(slog.LevelWarn, "the remote refuses the key: it may have expired, been revoked, or been made for another proxy", "answer", b.words)
		return s.asItIs(whileRefused)
	case s.full:
		s.tellAccepted(b, "the remote accepts the key, which has no room for one caveat more, so it is sent as it is instead of children that live 5 minutes")
	case a.date.IsZero():
		s.tellAccepted(b, "the remote accepts the key, but does not tell the time, so it is sent as it is instead of children that live 5 minutes")
	default:
		s.tellAccepted(b, "the remote accepts the key, but no child of it: it is no ollama-proxy, or its clock is not one")
	}
	return s.asItIs(whileOther)
}

// down logs why the remote gave no answer.
func (s *keySource) down(err error) *grant {
	s.tell(slog.LevelWarn, "the remote cannot be asked: "+explain(err, s.o.Remote)+"; serving all the same")
	return s.asItIs(whileDown)
}

// tellAccepted logs that the key is good, whose it is and how long it holds.
func (s *keySource) tellAccepted(a answer, message string) {
	level := slog.LevelInfo
	key, _ := signer.Inspect(s.o.Key)
	about := []any{"id", key.ID.String()}
	if label := key.Limits.Label(); label != "" {
		about = append(about, "label", label)
	}
	until := "no end"
	if t := key.Limits.Expires(); !t.IsZero() {
		until = t.Format(time.RFC3339)
	}
	about = append(about, "until", until)
	if a.status != http.StatusOK {
		level, message = slog.LevelWarn, message+", but answers with an error"
		about = append(about, "status", a.status, "answer", a.words)
	}
	s.tell(level, message, about...)
}

// answer is what the remote said when it was asked what it is.
type answer struct {
	status   int
	wantsKey bool      // it is a 401 as an ollama-proxy sends it
	isOllama bool      // it tells the version of an Ollama
	words    string    // its error message, made fit for a log
	text     string    // the start of its body
	location *url.URL  // where it redirects to, or nil
	date     time.Time // of its Date header, or zero
	at       time.Time // our time when it came
}

// ask asks the remote with the key, or without one.
func (s *keySource) ask(ctx context.Context, key string) (a answer, err error) {
	path := "version"
	if key != "" && s.o.Upstream == "" {
		path = "status"
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.o.Remote.JoinPath("api", path).String(), nil)
	if err != nil {
		return a, err
	}
	if key != "" {
		s.o.sign(r.Header, key)
	}
	res, err := s.o.Transport.RoundTrip(r)
	if err != nil {
		return a, err
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(res.Body, 4<<10)) // a broken one is judged as it is
	var said struct{ Error, Version string }
	isJSON := json.Unmarshal(body, &said) == nil
	a = answer{
		status:   res.StatusCode,
		isOllama: isJSON && said.Version != "",
		words:    tame(said.Error),
		text:     string(body),
		at:       time.Now(),
	}
	a.wantsKey = a.status == http.StatusUnauthorized && said.Error != "" && strings.HasPrefix(res.Header.Get("WWW-Authenticate"), "Bearer")
	a.date, _ = http.ParseTime(res.Header.Get("Date"))
	if to, err := r.URL.Parse(res.Header.Get("Location")); err == nil && a.status/100 == 3 {
		a.location = to
	}
	return a, nil
}

// withoutProxy says what is at the URL in place of an ollama-proxy.
func (a answer) withoutProxy(remote *url.URL) string {
	switch {
	case a.status == http.StatusOK && a.isOllama:
		return "the remote answers without a key: it is an Ollama without a proxy, open to everyone who reaches it"
	case a.status/100 == 2:
		return "the remote answers without a key, and not as an Ollama does: is there an ollama-proxy at that URL?"
	case a.location != nil && a.location.Host != "":
		to := url.URL{Scheme: a.location.Scheme, Host: a.location.Host, Path: strings.TrimSuffix(a.location.Path, "/api/version")}
		return "the remote redirects to " + tame(to.String()) + ": connect to that URL if it is yours"
	case a.status == http.StatusBadRequest && remote.Scheme == "http" && strings.Contains(a.text, "HTTPS"):
		return "the remote speaks TLS: write https:// in place of http://"
	case a.status == http.StatusUnauthorized:
		return "the remote asks for a credential, but not as an ollama-proxy does: is there something else in front of it?"
	case a.status == http.StatusNotFound && remote.Path != "":
		return "there is no ollama-proxy at that URL: does it go without " + tame(remote.Path) + "?"
	case a.status >= 500:
		return "the remote is not ready; serving all the same"
	}
	return "there seems to be no ollama-proxy at that URL"
}

// tame makes a remote's text fit for a log: bounded, printable, and without keys.
func tame(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, withoutKeys(text))
	if runes := []rune(text); len(runes) > maxWords {
		text = string(runes[:maxWords]) + "…"
	}
	return text
}

// sign puts the key into a request to the remote, and the name of the Ollama that the
// request is for.
func (o *Options) sign(h http.Header, key string) {
	h.Set("Authorization", "Bearer "+key)
	if o.Upstream != "" {
		h.Set(api.UpstreamHeader, o.Upstream)
	}
}
