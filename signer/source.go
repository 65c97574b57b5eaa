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
	// maxSmall is the largest content that is read whole to detect a change: 1 MiB.
	maxSmall = 1 << 20

	// settleTime is how long ago a file must have changed for the next change to get
	// another time: file systems and HTTP have times in steps of up to 2 s.
	settleTime = 2 * time.Second
)

var errNotRegular = errors.New("not a regular file")

// Source is the location of a revocation list: a file, or an http or https URL. It is
// for one goroutine at a time.
type Source struct {
	path      string
	url       *url.URL // nil: a file
	transport http.RoundTripper
	timeout   time.Duration

	offered, accepted version
}

// version identifies a content. The zero version is like no other.
type version struct {
	sum  [sha256.Size]byte // of a small content
	info fs.FileInfo       // of a large file
	read time.Time

	etag, modified string // of a URL
}

// NewSource returns the Source at a file's path, or at a URL that begins with http:// or
// https://. If the URL has no host or is malformed, or has another scheme, NewSource
// returns an error, which quotes nothing of it. It opens nothing.
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

// String returns the path, or the URL without user, password, query and fragment.
func (s *Source) String() string {
	if s.url == nil {
		return s.path
	}
	return (&url.URL{Scheme: s.url.Scheme, Host: s.url.Host, Path: s.url.Path, RawPath: s.url.RawPath}).String()
}

// Open returns the content. If that is certainly the same as at the last Open that was
// followed by [Source.Accept], changed is false, and content is nil.
//
//   - If a file does not exist, is not regular, or cannot be read, Open returns an error.
//     Symbolic links are followed each time. A file of up to 1 MiB is compared as a whole.
//     A larger one is unchanged if it is the same file with the same size and time, and
//     that time was more than 2 s past when the file was read.
//   - If a URL responds with neither 200 nor, to a conditional request, 304, or redirects
//     more than three times or from https to http, Open returns an error. The response
//     must be complete within 30 s; otherwise Open or reading the content fails.
//
// No error contains the URL's user, password or query.
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

// Accept marks the content that Open returned as read to its end and valid. Without it,
// the next Open returns the content again.
func (s *Source) Accept() { s.accepted = s.offered }

// openFile returns the content of the file, or nil if it has not changed.
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

// isStill reports whether a file has certainly not changed. If it had changed shortly
// before it was read, it may have changed again since without getting another time.
func (v version) isStill(info fs.FileInfo) bool {
	return v.info != nil && os.SameFile(v.info, info) && v.info.Size() == info.Size() &&
		v.info.ModTime().Equal(info.ModTime()) && v.read.Sub(info.ModTime()) > settleTime
}

// offer returns the content, or nil if it is small and equal to the accepted one.
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

// joined is a ReadCloser made of a Reader and a function that closes.
type joined struct {
	io.Reader
	close func() error
}

func (j joined) Close() error { return j.close() }
