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

// Options says what a connector works with. Remote, Key and Log are
// needed.
type Options struct {
	Remote *url.URL // where the ollama-proxy is, see [ParseRemote]
	Key    string
	Log    *slog.Logger

	// Transport sends requests to the remote. Nil means one that speaks
	// HTTP/2 where the remote does, and uses the proxy of the environment for
	// https: there it sees nothing of the key.
	Transport http.RoundTripper
}

// connector is an Ollama without keys for those on this machine: it adds the
// key and forwards to a remote ollama-proxy.
type connector struct {
	Options
	refused sync.Once // the remote refuses the key, and the log says so
}

// New returns a handler that forwards requests to the remote with the
// key. Whoever reaches it has the key's rights, so it belongs on a loopback
// address, see [ListenLoopback]; there it refuses what a web page could send:
// a Host that is not this machine, a foreign Origin, a cross-site fetch.
// If there is no remote, or the key has not the shape of a key, NewConnector
// returns an error, which never shows the key.
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

// newRemoteTransport is for one remote across a network, where connections die
// unseen: when a laptop sleeps, or a load balancer forgets them.
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

// tunnelFromEnvironment is the proxy that the environment names for an https URL,
// and none for plain http: such a request would show a proxy all that is in it.
func tunnelFromEnvironment(r *http.Request) (*url.URL, error) {
	if r.URL.Scheme != "https" {
		return nil, nil
	}
	return http.ProxyFromEnvironment(r)
}

// ServeHTTP serves one request.
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

// rewrite makes the request that the remote sees: the path and the query as
// they came, its own Host, our key, and of the client's headers those that
// are the remote's business.
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

// look looks at the remote's answer, which passes as it is.
func (c *connector) look(res *http.Response) error {
	if res.StatusCode == http.StatusUnauthorized {
		c.refused.Do(func() {
			c.Log.Warn("the remote refuses the key: it may have expired, been revoked, or been made for another proxy", "remote", c.Remote.Host)
		})
	}
	return nil
}

// fail ends a request to which the remote gave no answer. The client's own
// failure to send its body, if any, comes first: it is what made the rest fail.
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

// upload is a request's body on its way to the remote. The server closes the
// body under the transport's hands once the answer begins; to the transport a
// read that fails then, even one after the end, would be reason to close the
// connection on which that answer comes.
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

// Serve serves h, which [NewConnector] made, on l until the context
// ends. Then it takes no more requests, lets those that run finish, up to the
// grace, and cuts what still runs. It closes l in any case, and returns nil
// after a drain, otherwise why the listener failed. If the remote of h is l
// itself, ServeConnector returns an error at once: each request would go round
// for ever.
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
