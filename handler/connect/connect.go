package connect

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/api"
	"github.com/ollama-proxy/ollama-proxy/handler/downstream"
	"github.com/ollama-proxy/ollama-proxy/handler/local"
	"github.com/ollama-proxy/ollama-proxy/handler/socket"
)

// Options configures a connector. Remote, Key and Log must be set.
type Options struct {
	Remote *url.URL     // the remote ollama-proxy, see [ParseRemote]
	Key    string       // goes with each request, see [ReadKey]
	Log    *slog.Logger // never gets the key

	// Transport sends requests to the remote. Nil means one that speaks HTTP/2 if the
	// remote does. For https it uses the HTTP proxy that the environment names, which
	// sees nothing of the key then.
	Transport http.RoundTripper
}

// connector is a reverse proxy for the programs of this machine, who need no key: it adds
// the key and forwards to a remote ollama-proxy.
type connector struct {
	Options
	refused sync.Once // the remote refuses the key, and the log says so
}

// New returns a handler that adds the key to requests and forwards them to the remote.
// Whoever reaches the handler has the key's rights, so serve it on a loopback address only,
// see [local.ListenLoopback]. It refuses what a web page could send: a Host that is not
// this machine, a foreign Origin, a cross-site fetch.
//
// If there is no remote, or the key has not the shape of a key, New returns an error,
// which never shows the key.
func New(o Options) (http.Handler, error) {
	switch {
	case o.Remote == nil || o.Remote.Host == "":
		return nil, errors.New("no remote to connect to")
	case !hasKeyShape(o.Key):
		return nil, errNoKeyShape
	}
	if o.Transport == nil {
		o.Transport = newRemoteTransport()
	}
	return &connector{Options: o}, nil
}

// newRemoteTransport returns the default transport. It pings idle connections: across a
// network they die without notice, when a laptop sleeps or a load balancer forgets them.
func newRemoteTransport() http.RoundTripper {
	dialer := net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		DialContext:       dialer.DialContext,
		Proxy:             tunnelFromEnvironment,
		ForceAttemptHTTP2: true,
		HTTP2: &http.HTTP2Config{
			SendPingTimeout: 15 * time.Second,
			PingTimeout:     15 * time.Second,
		},
		// Answers pass as they are, in the coding that the client asked for.
		DisableCompression: true,
		// A remote that refuses an upload says so before the upload begins,
		// if the client can wait for that.
		ExpectContinueTimeout: time.Second,
		MaxIdleConnsPerHost:   64,
		// Less than the usual load balancer's minute: a chat that meets a
		// connection just closed would fail.
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: 256 << 10,
		TLSHandshakeTimeout:    10 * time.Second,
	}
}

// tunnelFromEnvironment returns the HTTP proxy that the environment names for an https
// URL. For plain http it returns none: the proxy would see all that is in the request.
func tunnelFromEnvironment(r *http.Request) (*url.URL, error) {
	if r.URL.Scheme != "https" {
		return nil, nil
	}
	return http.ProxyFromEnvironment(r)
}

// ServeHTTP implements http.Handler.
func (c *connector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := local.CheckLoopback(r); err != nil {
		writeError(w, api.Native, http.StatusForbidden, err.Error(), rand.Text())
		return
	}

	over, whole := make(chan struct{}), false
	defer func() {
		close(over)
		// http.ErrAbortHandler passes through here, and must reach the server.
		if !whole && !r.ProtoAtLeast(1, 1) {
			downstream.ResetOnClose(r.Context())
		}
	}()
	upload := &upload{ReadCloser: r.Body, over: over}
	in := r.WithContext(r.Context()) // a copy: r's body is the server's to close
	in.Body = upload
	proxy := httputil.ReverseProxy{
		Rewrite:        c.rewrite,
		Transport:      c.Transport,
		FlushInterval:  -1,
		ModifyResponse: c.look,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			c.fail(w, r, upload.err(), err)
		},
		// It is told when the remote breaks off an answer, and nothing else.
		ErrorLog: slog.NewLogLogger(c.Log.Handler(), slog.LevelWarn),
	}
	proxy.ServeHTTP(w, in)
	whole = true
}

// rewrite makes the request that the remote sees: path and query as they came, the
// remote's own Host, our key, and the client's headers without credentials and without
// what a client could forge.
func (c *connector) rewrite(p *httputil.ProxyRequest) {
	in, out := p.In, p.Out
	out.URL = &url.URL{
		Scheme:   c.Remote.Scheme,
		Host:     c.Remote.Host,
		Path:     c.Remote.Path + in.URL.Path,
		RawPath:  c.Remote.EscapedPath() + in.URL.EscapedPath(),
		RawQuery: in.URL.RawQuery,
	}
	out.Host = "" // the URL's
	out.Header = in.Header.Clone()
	api.StripRequestHeaders(out.Header)
	if expect, ok := in.Header["Expect"]; ok {
		out.Header["Expect"] = expect // the remote answers it, not we
	}
	out.Header.Set("Authorization", "Bearer "+c.Key)
}

// look inspects the remote's answer, which is passed on unchanged.
func (c *connector) look(res *http.Response) error {
	if res.StatusCode == http.StatusUnauthorized {
		c.refused.Do(func() {
			c.Log.Warn("the remote refuses the key: it may have expired, been revoked, or been made for another proxy", "remote", c.Remote.Host)
		})
	}
	return nil
}

// fail answers a request for which there is no answer of the remote's. If the client
// failed to send its body, that counts first: it made the rest fail.
func (c *connector) fail(w http.ResponseWriter, r *http.Request, clientErr, err error) {
	switch {
	case r.Context().Err() != nil, socket.IsDisconnect(clientErr):
		// A plain return would send an empty 200 to a client that has only
		// closed its own half.
		panic(http.ErrAbortHandler)
	case clientErr != nil:
		writeError(w, api.DialectOf(r.URL.Path), http.StatusBadRequest, "the request body cannot be read", rand.Text())
		return
	}
	message := "no proper answer from " + c.Remote.Host
	var opErr *net.OpError
	if errors.As(err, &opErr) && opErr.Op == "dial" {
		message = c.Remote.Host + " cannot be reached"
	}
	id := rand.Text()
	// Some errors quote what was received, which might even be our own request.
	c.Log.Warn(message, "request", id, "error", strings.ReplaceAll(err.Error(), c.Key, "[key]"))
	writeError(w, api.DialectOf(r.URL.Path), http.StatusBadGateway, message, id)
}

func writeError(w http.ResponseWriter, d api.Dialect, status int, message, id string) {
	body := d.ErrorBody(status, message, id)
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("X-Request-Id", id)
	if api.IsFinal(status) {
		h.Set(api.RetryHeader, "false")
	}
	w.WriteHeader(status)
	w.Write(body)
}

// upload is a request's body that is being sent to the remote. When the answer begins, the
// server closes the body although the transport may still read it. The transport would
// take a failed read, even one after the end, as a reason to close the connection on which
// the answer comes, so reads of a closed body wait until the answer is over.
type upload struct {
	io.ReadCloser
	over   <-chan struct{} // closed when the answer has been passed on
	ended  bool
	failed atomic.Pointer[error] // why it could not be read
}

func (u *upload) Read(p []byte) (int, error) {
	if u.ended {
		return 0, io.EOF
	}
	n, err := u.ReadCloser.Read(p)
	switch {
	case err == io.EOF:
		u.ended = true
	case errors.Is(err, http.ErrBodyReadAfterClose):
		<-u.over
	case err != nil:
		u.failed.Store(&err)
	}
	return n, err
}

func (u *upload) err() error {
	if err := u.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// Serve serves h, which [New] made, on l until the context ends. Then it accepts no more
// requests, lets running ones finish for as long as grace says, and cuts the rest.
//
// Serve always closes l. It returns nil after a drain, and otherwise the error with which
// the listener failed. If the remote of h is l itself, Serve returns an error at once: each
// request would go round for ever.
func Serve(ctx context.Context, h http.Handler, l net.Listener, grace time.Duration) error {
	if c, ok := h.(*connector); ok {
		if local.LeadsTo(c.Remote, l.Addr()) {
			l.Close()
			return fmt.Errorf("%s is this very port: give the URL of an ollama-proxy", c.Remote.Host)
		}
		// Nothing bounds those on this machine: let there be as many as a Server has.
		downstream.GrowDescriptorTable(2*downstream.MaxConnections+downstream.OtherDescriptors, c.Log)
	}
	// Not made of ctx: that would cut at once.
	running, cut := context.WithCancel(context.Background())
	defer cut()
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: downstream.HeaderTimeout,
		IdleTimeout:       downstream.IdleTimeout,
		MaxHeaderBytes:    downstream.MaxHeaderBytes,
		BaseContext:       func(net.Listener) context.Context { return running },
		ConnContext:       downstream.WithConn,
	}
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(l) }()
	defer s.Close()

	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	if shutdown(s, grace) == nil {
		return nil
	}
	cut()
	shutdown(s, downstream.CutGrace) // what does not end now, s.Close ends
	return nil
}

func shutdown(s *http.Server, within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	return s.Shutdown(ctx)
}
