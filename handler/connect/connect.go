package connect

import (
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"

	"github.com/ollama-proxy/ollama-proxy/handler/api"
	"github.com/ollama-proxy/ollama-proxy/handler/downstream"
	"github.com/ollama-proxy/ollama-proxy/handler/local"
	"github.com/ollama-proxy/ollama-proxy/handler/socket"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// Options configures a connector. Remote, Key and Log are required.
type Options struct {
	Remote *url.URL // of the ollama-proxy, see [ParseRemote]
	Key    string
	Log    *slog.Logger

	// Upstream is the name of one of several Ollamas behind the remote: every request
	// goes there. It takes an ADMIN key. Empty: the remote chooses.
	Upstream string

	// Shared lets requests come from other machines, which then use the key, too.
	Shared bool

	// Transport sends requests to the remote. Nil means one that speaks HTTP/2 if the
	// remote does. For https that one goes through the proxy that the environment
	// names, which cannot see the key.
	Transport http.RoundTripper
}

// connector is an Ollama without keys for programs on this machine: it adds a key to
// each request and forwards it to a remote ollama-proxy.
type connector struct {
	Options
	keys keySource
}

// New returns a handler that adds the key to requests and forwards them to the remote.
// Whoever reaches the handler has the key's rights, so serve it on a loopback address,
// see [local.ListenLoopback]. It refuses what a foreign web page can send: a Host that is
// not this machine, a foreign Origin, a cross-site fetch.
//
// New returns an error, which never shows the key, if there is no remote, if the key has
// not the shape of a key, if Upstream cannot be a name, or if there is an Upstream and the
// key is not an ADMIN key.
func New(o Options) (http.Handler, error) {
	key, err := signer.Inspect(o.Key)
	switch {
	case o.Remote == nil || o.Remote.Host == "":
		return nil, errors.New("no remote to connect to")
	case err != nil:
		return nil, errNoKeyShape
	case o.Upstream != "" && !isUpstreamName(o.Upstream):
		return nil, errors.New("--upstream (or OLLAMA_PROXY_UPSTREAM) is no name: it is what the remote calls one of its Ollamas, such as gpu1 or 10.0.0.5:11434, without http://")
	case o.Upstream != "" && !key.Admin:
		return nil, errors.New("--upstream (or OLLAMA_PROXY_UPSTREAM) takes an ADMIN key, and this key is not one")
	}
	if o.Transport == nil {
		o.Transport = newRemoteTransport()
	}
	return &connector{o, keySource{o: o, full: isFull(o.Key)}}, nil
}

// isUpstreamName reports whether text can be the name of an Ollama: at most 300 letters,
// digits and characters that occur in hosts, ports and addresses. An Ollama without a name
// of its own goes by its host and port.
func isUpstreamName(text string) bool {
	return len(text) <= 300 && strings.Trim(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:@[]") == ""
}

// ServeHTTP implements http.Handler.
func (c *connector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	check := local.CheckLoopback
	if c.Shared {
		check = local.CheckNetwork
	}
	if err := check(r); err != nil {
		writeError(w, api.Native, http.StatusForbidden, err.Error(), rand.Text())
		return
	}
	allowOrigin(w.Header(), r)
	if answerPreflight(w, r) {
		return
	}

	over, whole := make(chan struct{}), false
	defer func() {
		close(over)
		// ReverseProxy panics with http.ErrAbortHandler if the answer breaks off. The
		// server must see that panic, so it is not recovered; whole is false then.
		if !whole && !r.ProtoAtLeast(1, 1) {
			downstream.ResetOnClose(r.Context())
		}
	}()
	upload := &upload{ReadCloser: r.Body, over: over}
	in := r.WithContext(r.Context()) // a copy: the server closes the body of r
	in.Body = upload
	proxy := httputil.ReverseProxy{
		Rewrite:        c.rewrite,
		Transport:      c.Transport,
		FlushInterval:  -1,
		ModifyResponse: c.observe,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			c.fail(w, r, upload.err(), err)
		},
		// ReverseProxy logs one thing only: that the remote broke off an answer.
		ErrorLog: slog.NewLogLogger(c.Log.Handler(), slog.LevelWarn),
	}
	proxy.ServeHTTP(w, in)
	whole = true
}

// rewrite makes the request that the remote sees: the client's path and query unchanged,
// the remote's Host, a key, and the client's headers without those that
// [api.StripRequestHeaders] removes.
func (c *connector) rewrite(p *httputil.ProxyRequest) {
	in, out := p.In, p.Out
	out.URL = &url.URL{
		Scheme:   c.Remote.Scheme,
		Host:     c.Remote.Host,
		Path:     c.Remote.Path + in.URL.Path,
		RawPath:  c.Remote.EscapedPath() + in.URL.EscapedPath(),
		RawQuery: in.URL.RawQuery,
	}
	out.Host = "" // then the URL's host is sent
	out.Header = in.Header.Clone()
	api.StripRequestHeaders(out.Header)
	if expect, ok := in.Header["Expect"]; ok {
		out.Header["Expect"] = expect // the remote decides whether the client may go on
	}
	c.sign(out.Header, c.keys.current(in.Context()))
}

// observe reads the head of the remote's answer. The answer passes unchanged, apart from
// what it says to browsers.
func (c *connector) observe(res *http.Response) error {
	dropCORS(res.Header)
	if res.StatusCode == http.StatusUnauthorized && res.Request != nil {
		c.keys.refused(strings.TrimPrefix(res.Request.Header.Get("Authorization"), "Bearer "))
	}
	return nil
}

// fail answers the client if the remote gave no answer. err is why. clientErr is why the
// client's body could not be read, or nil; if it is set, it is the cause of err.
func (c *connector) fail(w http.ResponseWriter, r *http.Request, clientErr, err error) {
	switch {
	case r.Context().Err() != nil, socket.IsDisconnect(clientErr):
		// If we just returned, the server would send an empty 200, and a client that
		// has only closed its sending side would read it.
		panic(http.ErrAbortHandler)
	case clientErr != nil:
		writeError(w, api.DialectOf(r.URL.Path), http.StatusBadRequest, "the request body cannot be read", rand.Text())
		return
	}
	message := "no proper answer from " + c.Remote.Host
	var opErr *net.OpError
	if text := explainTLS(err, c.Remote); text != "" {
		message = text
	} else if errors.As(err, &opErr) && opErr.Op == "dial" {
		message = c.Remote.Host + " cannot be reached"
	}
	id := rand.Text()
	// Some errors quote what was received, which may be an echo of our request.
	c.Log.Warn(message, "request", id, "error", withoutKeys(err.Error()))
	writeError(w, api.DialectOf(r.URL.Path), http.StatusBadGateway, message, id)
}

// writeError answers with an error in the dialect of the client.
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
