package signer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"
)

const (
	// maxSmall is what is read whole to be compared: 1 MiB.
	maxSmall = 1 << 20

	// settleTime is how old a file's last change must be for a later change to
	// show in its time: file systems and HTTP count in steps of up to 2 s.
	settleTime = 2 * time.Second
)

var errNotRegular = errors.New("not a regular file")

// Source is where a list is kept: in a file, or at an http or https URL. It is
// for one goroutine at a time.
type Source struct {
	path      string
	url       *url.URL // nil: a file
	transport http.RoundTripper
	timeout   time.Duration

	offered, accepted version
}

// version is what is known of one content. Its zero value is like no other.
type version struct {
	sum  [sha256.Size]byte // of a small content
	info fs.FileInfo       // of a large file
	read time.Time

	etag, modified string // of a URL
}

// NewSource takes a file's path, or a URL that starts with http:// or https://.
// If the URL has no host or does not parse, or there is another scheme,
// NewSource says so; the error shows nothing of a URL. It does not look whether
// there is anything.
func NewSource(location string) (*Source, error) {
	scheme, _, hasScheme := strings.Cut(location, "://")
	switch {
	case location == "":
		return nil, errors.New("no path or URL is given")
	case isURL(location):
		// What url.Parse says may quote a password.
		u, err := url.Parse(location)
		if err != nil || u.Hostname() == "" {
			return nil, errors.New("the URL cannot be understood: is there a host, and is everything odd in it %-encoded?")
		}
		return &Source{url: u, transport: newTransport(), timeout: fetchTimeout}, nil
	case hasScheme && !strings.Contains(scheme, "/"):
		return nil, errors.New("neither a path nor an http or https URL")
	}
	return &Source{path: location}, nil
}

// String gives the path, or the URL without user, password, query and fragment.
func (s *Source) String() string {
	if s.url == nil {
		return s.path
	}
	return (&url.URL{Scheme: s.url.Scheme, Host: s.url.Host, Path: s.url.Path, RawPath: s.url.RawPath}).String()
}

// Open returns the content, unless it is certain that it is still the one of
// the last Open that was followed by [Source.Accept]: then changed is false and
// there is nothing to close.
//
//   - If a file is not a regular file, is not there or cannot be read, Open says
//     so. Symbolic links are followed each time. A file of up to 1 MiB is
//     compared as a whole; a larger one is unchanged if it is the same file with
//     the same size and time, and that time was 2 s past when it was read.
//   - If a URL answers neither 200, nor 304 to a question that allows it, or
//     leads on more than three times, or from https to http, Open says so. So it
//     does if the answer is not complete within 30 s; then reading may fail too.
//
// No error shows the URL's user, password or query.
func (s *Source) Open(ctx context.Context) (content io.ReadCloser, changed bool, err error) {
	s.offered = s.accepted
	if s.url == nil {
		content, err = s.openFile()
	} else {
		content, err = s.openURL(ctx)
	}
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		err = path.Err
	}
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", s, err)
	}
	return content, content != nil, nil
}

// Accept says that the content that Open returned has been read to its end and
// is good. Without it the next Open returns the content again.
func (s *Source) Accept() { s.accepted = s.offered }

// openFile returns nil if the file has not changed.
func (s *Source) openFile() (io.ReadCloser, error) {
	// A FIFO without a writer would block for good.
	f, err := os.OpenFile(s.path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	info, err := f.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = errNotRegular
	case info.Size() > maxRevocations:
		err = fmt.Errorf("more than %d bytes", maxRevocations)
	case info.Size() <= maxSmall:
		return s.offer(f, version{})
	case s.accepted.isStill(info):
		return nil, f.Close()
	default:
		s.offered = version{info: info, read: now}
		return f, nil
	}
	f.Close()
	return nil, err
}

// isStill never says so of a file that changed shortly before it was read: it
// may have changed again since, and still have the same time.
func (v version) isStill(info fs.FileInfo) bool {
	return v.info != nil && os.SameFile(v.info, info) && v.info.Size() == info.Size() &&
		v.info.ModTime().Equal(info.ModTime()) && v.read.Sub(info.ModTime()) > settleTime
}

// offer returns nil if the content is small and the same as the one accepted.
func (s *Source) offer(content io.ReadCloser, v version) (io.ReadCloser, error) {
	head, err := io.ReadAll(io.LimitReader(content, maxSmall+1))
	if err != nil {
		content.Close()
		return nil, err
	}
	s.offered = v
	if len(head) > maxSmall {
		return joined{io.MultiReader(bytes.NewReader(head), content), content.Close}, nil
	}
	content.Close()
	s.offered.sum = sha256.Sum256(head)
	if s.offered.sum == s.accepted.sum {
		s.accepted = s.offered
		return nil, nil
	}
	return io.NopCloser(bytes.NewReader(head)), nil
}

type joined struct {
	io.Reader
	close func() error
}

func (j joined) Close() error { return j.close() }
