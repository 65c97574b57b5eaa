// Command ollama-proxy lets only requests with a valid API key reach Ollama.
package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/access"
	"github.com/ollama-proxy/ollama-proxy/handler/api"
	"github.com/ollama-proxy/ollama-proxy/handler/certs"
	"github.com/ollama-proxy/ollama-proxy/handler/cmdline"
	"github.com/ollama-proxy/ollama-proxy/handler/connect"
	"github.com/ollama-proxy/ollama-proxy/handler/downstream"
	"github.com/ollama-proxy/ollama-proxy/handler/keycmd"
	"github.com/ollama-proxy/ollama-proxy/handler/local"
	"github.com/ollama-proxy/ollama-proxy/handler/server"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
	"github.com/ollama-proxy/ollama-proxy/handler/status"
	"github.com/ollama-proxy/ollama-proxy/handler/top"
	"github.com/ollama-proxy/ollama-proxy/handler/upstream"
	"github.com/ollama-proxy/ollama-proxy/metrics"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

func main() {
	// net/http has no other way to be silenced: it would quote what Ollama
	// sends beyond the end of an answer.
	log.SetOutput(io.Discard)
	runtime.KeepAlive(ballast)
	if err := newApp().Run(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "ollama-proxy:", strings.ReplaceAll(err.Error(), "\n", " "))
		os.Exit(1)
	}
}

// ballast is never touched, so it takes no memory. But the garbage collector
// counts it: it lets the heap, which has a few MiB, grow to 64 MiB before it
// looks at it, and does not do so dozens of times a second.
var ballast = make([]byte, 32<<20)

func newApp() *cli.App {
	return &cli.App{
		Name:            "ollama-proxy",
		Usage:           "let only requests with a valid API key reach Ollama",
		Version:         version(),
		Suggest:         true,
		HideHelpCommand: true,
		ExitErrHandler:  func(*cli.Context, error) {},
		OnUsageError:    cmdline.UsageError,
		Action:          cmdline.UnknownCommand,
		Commands: cmdline.Finish([]*cli.Command{
			serveCommand(),
			mintCommand(),
			keysCommand(),
			secretCommand(),
			inspectCommand(),
			restrictCommand(),
			revokeCommand(),
			connectCommand(),
			topCommand(),
			healthcheckCommand(),
			cmdline.CompletionCommand(),
			cmdline.ManCommand(),
			cmdline.VersionCommand(),
		}),
	}
}

func serveCommand() *cli.Command {
	return &cli.Command{
		Name:  "serve",
		Usage: "run the proxy",
		Description: "Example: ollama-proxy serve --listen 0.0.0.0:8080 --secret-file /etc/ollama-proxy/secret\n\n" +
			"Without a secret anywhere, serve creates one and prints a first key.",
		Flags: []cli.Flag{
			cmdline.StringFlag("listen", "127.0.0.1:8080", "serve clients on `ADDRESS`"),
			&cli.StringSliceFlag{Name: "upstream", Value: cli.NewStringSlice("http://127.0.0.1:11434"), Usage: "`URL` of an Ollama, or NAME=URL,weight=N; without it OLLAMA_HOST counts, if it is set; with several, each request goes where its model is loaded and the queue is short"},
			cmdline.StringFlag("upstreams-file", "", "read where Ollamas are from `FILE`, one a line, in place of --upstream; it is read again like the secrets"),
			secretFile(),
			adminSecretFile(),
			revocations(),
			cmdline.DurationFlag("max-key-age", 0, "refuse keys that were minted longer ago than `DURATION`, such as 2160h, and those whose id does not say when (0: none); what runs is not cut"),
			&cli.IntFlag{Name: "default-rpm", Usage: "let keys that were minted without --rpm make `N` requests a minute, with all that are made from them (0: no limit)"},
			&cli.IntFlag{Name: "default-streams", Usage: "let keys that were minted without --streams make `N` requests at once, with all that are made from them (0: no limit)"},
			cmdline.DurationFlag("reload-interval", 5*time.Second, "look for new secrets and revocations every `DURATION`; SIGHUP looks at once"),
			cmdline.StringFlag("metrics-listen", "127.0.0.1:9464", "serve a page to look at, /metrics, /healthz and /readyz on `ADDRESS`"),
			&cli.StringSliceFlag{Name: "metrics-host", Usage: "let what is on --metrics-listen be asked for by `NAME`, too, such as gpu.example.com; addresses and local names always may"},
			&cli.BoolFlag{Name: "metrics-per-key", Usage: "count requests, tokens and bytes by key, too (by its label and its id), for up to 1000 keys"},
			&cli.BoolFlag{Name: "native-histograms", Usage: "make histograms native ones, too (Prometheus 3)"},
			cmdline.StringFlag("tls-cert", "", "serve clients over TLS with the certificate in `FILE` (PEM, with its chain)"),
			cmdline.StringFlag("tls-key", "", "the private key of --tls-cert is in `FILE`; both are read again when they change"),
			&cli.StringSliceFlag{Name: "acme-domain", Usage: "get and renew a certificate for `DOMAIN` from Let's Encrypt, whose terms you accept with this flag; port 443 of the domain must lead to --listen"},
			cmdline.StringFlag("acme-cache", "", "keep keys and certificates of --acme-domain in `DIR` (default: acme beside the secret that serve makes)"),
			cmdline.StringFlag("acme-directory", "", "get them from the authority whose ACME directory is at `URL`"),
			cmdline.StringFlag("max-body", "64MiB", "refuse request bodies over `SIZE`, uploads of blobs apart"),
			&cli.StringSliceFlag{Name: "trusted-proxy", Usage: "believe the X-Forwarded-For of the proxies in `CIDR`"},
			&cli.StringSliceFlag{Name: "allow-origin", Usage: "let web pages of `ORIGIN` use the proxy (with a key), such as https://chat.example.com"},
			&cli.BoolFlag{Name: "allow-cloud", Usage: "let requests for models of ollama.com, and those with web search, pass, on your account"},
			&cli.IntFlag{Name: "max-in-flight", Usage: "refuse requests while `N` are in flight (0: as many as descriptors allow, where that is known)"},
			&cli.IntFlag{Name: "max-connections", Value: 10_000, Usage: "let clients have `N` connections at once; those without a valid key make way for new ones"},
			cmdline.DurationFlag("first-byte-timeout", 15*time.Minute, "wait `DURATION` for Ollama to begin its answer"),
			cmdline.DurationFlag("heartbeat", 0, "keep streams of events awake: send something every `DURATION` in which Ollama is silent, so that no client and no tunnel gives up (0: never)"),
			cmdline.DurationFlag("idle-timeout", 2*time.Minute, "keep a client's connection for `DURATION` after its last request; longer than a load balancer in front keeps it"),
			cmdline.DurationFlag("stall-timeout", 5*time.Minute, "give up a transfer in which nothing moved for `DURATION`"),
			cmdline.DurationFlag("drain-delay", 0, "after SIGTERM go on for `DURATION` while /readyz fails, until load balancers send requests elsewhere"),
			cmdline.DurationFlag("shutdown-grace", time.Minute, "let running requests finish for `DURATION` after SIGTERM"),
			cmdline.StringFlag("log-format", "text", "log as `text|json`"),
			&cli.BoolFlag{Name: "omit-client-address", Usage: "leave the addresses of clients out of the log"},
			cmdline.StringFlag("log-level", "info", "log from `debug|info|warn|error` on"),
			&cli.BoolFlag{Name: "demo", Usage: "need nothing: a stand-in Ollama, a throw-away secret and a key on the screen"},
		},
		Action: serve,
	}
}

func serve(c *cli.Context) error {
	if err := cmdline.Arguments(c, 0, ""); err != nil {
		return err
	}
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGHUP) // first of all: unheeded it would end the process
	if err := checkServe(c); err != nil {
		return err
	}
	log, err := server.NewLog(c.App.ErrWriter, c.String("log-format"), c.String("log-level"))
	if err != nil {
		return err
	}
	public, err := downstream.Listen(c.String("listen"))
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	private, err := downstream.Listen(c.String("metrics-listen"))
	if err != nil {
		return fmt.Errorf("--metrics-listen: %w", err)
	}
	s, err := newServer(c, log, public.Addr(), private.Addr())
	if err != nil {
		return err
	}
	s.ReloadNow = again
	ctx := server.UntilSignal(c.Context) // whoever reads that it serves may send SIGTERM
	log.Info("serving", "address", public.Addr().String(), "metrics", private.Addr().String(), "version", version())
	if s.Certificates == nil && !public.Addr().(*net.TCPAddr).IP.IsLoopback() {
		log.Warn("keys and prompts travel in the clear: set --tls-cert and --tls-key, or --acme-domain, or put TLS in front")
	}
	return s.Serve(ctx, public, private)
}

// checkServe refuses numbers and durations that are out of bounds.
func checkServe(c *cli.Context) error {
	for _, name := range []string{"reload-interval", "first-byte-timeout", "idle-timeout", "stall-timeout"} {
		if d := c.Duration(name); d <= 0 {
			return fmt.Errorf("--%s: %v is not more than 0s", name, d)
		}
	}
	for name, least := range map[string]int{"max-connections": 1, "max-in-flight": 0, "default-rpm": 0, "default-streams": 0} {
		if n := c.Int(name); n < least {
			return fmt.Errorf("--%s: %d is less than %d", name, n, least)
		}
	}
	for _, name := range []string{"heartbeat", "drain-delay", "shutdown-grace", "max-key-age"} {
		if d := c.Duration(name); d < 0 {
			return fmt.Errorf("--%s: %v is less than 0s", name, d)
		}
	}
	return nil
}

// newServer puts together what serves clients on the public address.
func newServer(c *cli.Context, log *slog.Logger, address, private net.Addr) (*server.Server, error) {
	hosts, err := local.ParseHosts(c.StringSlice("metrics-host"))
	if err != nil {
		return nil, fmt.Errorf("--metrics-host: %w", err)
	}
	cors, err := server.AllowOrigins(c.StringSlice("allow-origin"))
	if err != nil {
		return nil, fmt.Errorf("--allow-origin: %w", err)
	}
	certificates, err := certificates(c)
	if err != nil {
		return nil, err
	}
	file, err := upstreamsFile(c)
	if err != nil {
		return nil, err
	}
	o := handler.Options{
		UpstreamsChange: file != nil,
		Log:             log,
		MaxInFlight:     c.Int("max-in-flight"),
		AllowCloud:      c.Bool("allow-cloud"),

		OmitClientAddress: c.Bool("omit-client-address"),
		FirstByteTimeout:  c.Duration("first-byte-timeout"),
		StallTimeout:      c.Duration("stall-timeout"),
		Heartbeat:         c.Duration("heartbeat"),
		DefaultLimits:     access.Defaults{RPM: c.Int("default-rpm"), Streams: c.Int("default-streams")},
	}
	if o.MaxBody, err = server.ParseSize(c.String("max-body")); err != nil {
		return nil, fmt.Errorf("--max-body: %w", err)
	}
	if o.TrustedProxies, err = access.ParseNetworks(c.StringSlice("trusted-proxy")); err != nil {
		return nil, fmt.Errorf("--trusted-proxy: %w", err)
	}
	keys, upstreams, err := prepare(c, log, publicURL(c, address), file, address, private)
	if err != nil {
		return nil, err
	}
	m := newMetrics(c, keys)
	o.Keys, o.Upstreams, o.Recorder = keys, upstreams, m
	proxy := handler.New(o)

	reloads := []server.Reload{{Name: "secrets", Load: keys.ReloadSecrets}, {Name: "revocations", Load: keys.ReloadRevocations}}
	if c.IsSet("admin-secret-file") {
		reloads = append(reloads, server.Reload{Name: "admin secrets", Load: keys.ReloadAdminSecrets})
	}
	if certificates != nil {
		reloads = append(reloads, server.Reload{Name: "certificate", Load: certificates.Reload})
		m.WatchCertificate(certificates.NotAfter)
	}
	if file != nil {
		reloads = append(reloads, server.Reload{Name: "upstreams", Load: proxy.ReloadUpstreams(file)})
	}
	return &server.Server{
		Proxy:          proxy,
		Metrics:        m.Handler(),
		MetricsHosts:   hosts,
		Totals:         func() status.Totals { return status.Totals(m.Totals()) },
		InForce:        keys,
		Version:        version(),
		Certificates:   certificates,
		CORS:           cors,
		Reloads:        reloads,
		ReloadInterval: c.Duration("reload-interval"),
		MaxConnections: c.Int("max-connections"),
		IdleTimeout:    c.Duration("idle-timeout"),
		DrainDelay:     c.Duration("drain-delay"),
		Grace:          c.Duration("shutdown-grace"),
	}, nil
}

// publicURL is where clients on this machine reach the proxy.
func publicURL(c *cli.Context, address net.Addr) string {
	if domains := c.StringSlice("acme-domain"); len(domains) > 0 && !c.IsSet("tls-cert") {
		return "https://" + domains[0]
	}
	scheme := "http://"
	if c.IsSet("tls-cert") {
		scheme = "https://"
	}
	return scheme + local.Reachable(address.String())
}

func newMetrics(c *cli.Context, keys *signer.Keyring) *metrics.Metrics {
	return metrics.New(metrics.Options{
		Version:          version(),
		Routes:           api.RouteNames(),
		RefusalReasons:   handler.RefusalReasons(),
		UpstreamErrors:   upstream.Errors(),
		UpstreamChoices:  upstream.Choices(),
		UpstreamRetries:  upstream.Retries(),
		InForce:          keys,
		PerKey:           c.Bool("metrics-per-key"),
		NativeHistograms: c.Bool("native-histograms"),
	})
}

// certificates are nil where TLS is not asked for.
func certificates(c *cli.Context) (certs.Certificates, error) {
	certFile, keyFile, domains := c.String("tls-cert"), c.String("tls-key"), c.StringSlice("acme-domain")
	files := certFile != "" || keyFile != ""
	switch {
	case len(domains) == 0 && (c.IsSet("acme-cache") || c.IsSet("acme-directory")):
		return nil, errors.New("--acme-cache and --acme-directory need --acme-domain")
	case len(domains) == 0 && !files:
		return nil, nil
	case len(domains) > 0 && files:
		return nil, errors.New("--acme-domain and --tls-cert are both set: which of the two?")
	case len(domains) > 0:
		return certs.NewACME(certs.ACMEOptions{Domains: domains, Directory: c.String("acme-directory"), Cache: c.String("acme-cache")})
	case certFile == "" || keyFile == "":
		return nil, errors.New("--tls-cert and --tls-key go together")
	}
	return certs.LoadCertificate(certFile, keyFile)
}

// upstreamsFile lists the Ollamas; nil: --upstream does.
func upstreamsFile(c *cli.Context) (*upstream.File, error) {
	path := c.String("upstreams-file")
	if path == "" || c.Bool("demo") {
		return nil, nil
	}
	if c.IsSet("upstream") {
		return nil, errors.New("--upstream and --upstreams-file are both set: which of the two?")
	}
	return upstream.NewFile(path), nil
}

// prepare opens the secrets and the list of revoked keys, and finds the Ollamas. Who
// has no secret yet, or asks for a demo, gets one, and a key to begin with.
func prepare(c *cli.Context, log *slog.Logger, address string, file *upstream.File, own ...net.Addr) (keys *signer.Keyring, ollamas []upstream.Upstream, err error) {
	var found signer.Found
	if c.Bool("demo") {
		found, ollamas, err = startDemo(c, address)
	} else if ollamas, err = parseUpstreams(c, file, own); err == nil {
		found, err = findSecrets(c, log, address)
	}
	if err != nil {
		return nil, nil, err
	}
	list := found.Revocations(c.String("revocations"))
	if list != c.String("revocations") { // so that one that comes later is seen
		f, err := os.OpenFile(list, os.O_RDONLY|os.O_CREATE, 0o644)
		if err != nil {
			return nil, nil, fmt.Errorf("there is no list of revoked keys, and none can be made (%w): name a file with --revocations", err)
		}
		f.Close()
	}
	keys, err = signer.OpenKeyring(c.Context, found, list)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: an empty file is a list, too", err)
	}
	if err != nil {
		return nil, nil, err
	}
	if found.Default {
		log.Info("nobody named a secret file: this one is used", "file", found.Path)
	}
	keys.SetMaxAge(c.Duration("max-key-age"))
	return keys, ollamas, useAdminSecrets(c, log, keys)
}

// useAdminSecrets gives ADMIN keys secrets of their own where a file with them is named.
func useAdminSecrets(c *cli.Context, log *slog.Logger, keys *signer.Keyring) error {
	path := c.String("admin-secret-file")
	if path == "" {
		return nil
	}
	found, err := signer.FindAdminSecrets(path)
	if err != nil {
		return err
	}
	if found.Exposed {
		log.Warn("others than its owner may read the secret file: chmod 600 it", "file", found.Path)
	}
	return keys.UseAdminSecrets(found)
}

// startDemo starts a stand-in Ollama, and makes a secret that nothing keeps.
func startDemo(c *cli.Context, address string) (found signer.Found, ollamas []upstream.Upstream, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return found, nil, err
	}
	go http.Serve(l, standin.New(standin.Options{Pace: 40 * time.Millisecond}))
	if ollamas, err = upstream.Parse([]string{l.Addr().String()}); err != nil {
		return found, nil, err
	}
	s, _ := signer.NewSecret()
	return signer.Found{Secrets: []signer.Secret{s}}, ollamas, greet(c, s, address,
		"A demo: a stand-in answers instead of Ollama, and the key is good until you stop it.")
}

// parseUpstreams refuses the addresses that are the proxy's own: each request would come
// back to it.
func parseUpstreams(c *cli.Context, file *upstream.File, own []net.Addr) (ollamas []upstream.Upstream, err error) {
	switch {
	case file != nil:
		ollamas, err = file.Load()
	case c.IsSet("upstream"):
		if ollamas, err = upstream.Parse(c.StringSlice("upstream")); err != nil {
			err = fmt.Errorf("--upstream: %w", err)
		}
	default:
		if ollamas, err = upstream.FromHost(os.Getenv("OLLAMA_HOST")); err != nil {
			err = fmt.Errorf("OLLAMA_HOST: %w", err)
		}
	}
	for _, u := range ollamas {
		if slices.ContainsFunc(own, func(a net.Addr) bool { return local.LeadsTo(u.URL, a) }) {
			return nil, fmt.Errorf("%s is this proxy itself: say with --upstream where Ollama is", u.URL)
		}
	}
	return ollamas, err
}

// findSecrets makes a secret where there is none, and prints a first key.
func findSecrets(c *cli.Context, log *slog.Logger, address string) (signer.Found, error) {
	found, err := signer.FindSecrets(c.String("secret-file"))
	if errors.Is(err, signer.ErrNoSecret) {
		if found, err = signer.MakeDefaultSecret(); err != nil {
			// So it is in a container, where nothing would keep it either.
			err = fmt.Errorf("there is no secret, and none can be made (%w): name a file with --secret-file", err)
		} else {
			err = greet(c, found.Secrets[0], address, "Made a new secret: "+found.Path+"\nWhoever has it can make keys: back it up, and show it to nobody.")
		}
	}
	if found.Exposed {
		log.Warn("others than its owner may read the secret file: chmod 600 it", "file", found.Path)
	}
	return found, err
}

// greet prints a first key and how to try it.
func greet(c *cli.Context, s signer.Secret, address, about string) error {
	key, err := signer.Mint(s, false)
	if err != nil {
		return err
	}
	try := fmt.Sprintf("curl %s/v1/models -H 'Authorization: Bearer %s'", address, key)
	if c.Bool("demo") {
		try = fmt.Sprintf("curl -N %s/v1/chat/completions -H 'Authorization: Bearer %s' -d '%s'", address, key,
			`{"model": "llama3.2", "stream": true, "messages": [{"role": "user", "content": "Why is the sky blue?"}]}`)
	}
	_, err = fmt.Fprintf(c.App.Writer, "%s\n\nA first key:\n\n    %s\n\nTry it:\n\n    %s\n\n", about, key, try)
	return err
}

func mintCommand() *cli.Command {
	return &cli.Command{
		Name:        "mint",
		Aliases:     []string{"generateAPIKey"},
		Usage:       "print a new key; needs the secret and nothing else",
		Description: "Example: ollama-proxy mint --secret-file /etc/ollama-proxy/secret --count 3",
		Flags: caveatFlags(
			secretFile(),
			adminSecretFile(),
			&cli.StringFlag{Name: "derive", Usage: "make them under the secret that `secret --derive NAME` prints, for those who hold that one"},
			&cli.BoolFlag{Name: "admin", Usage: "make keys that reach the management routes (pull, push, create, copy, delete)"},
			&cli.IntFlag{Name: "count", Value: 1, Usage: "make `N` keys, one a line"},
			asJSON(),
			ledger("note keys, never the keys themselves, in `FILE`, or nowhere: none (default: minted, beside the secret file)"),
			localProxy(),
		),
		Action: mint,
	}
}

func mint(c *cli.Context) error {
	if err := cmdline.Arguments(c, 0, ""); err != nil {
		return err
	}
	narrowed, err := caveats(c)
	if err != nil {
		return err
	}
	return keycmd.Mint(c.Context, streams(c), keycmd.MintOptions{
		Places: places(c), Admin: c.Bool("admin"), Derive: c.String("derive"), Count: c.Int("count"), Caveats: narrowed, JSON: c.Bool("json"),
	})
}

func keysCommand() *cli.Command {
	return &cli.Command{
		Name:      "keys",
		Usage:     "list the keys that mint has noted in the ledger, and whether they are still good",
		ArgsUsage: "[LABEL|UUID|KEY …]",
		Description: "Example: ollama-proxy keys --all alice\n\n" +
			"Where the local proxy counts by key (serve --metrics-per-key), there is also how many requests came with each since it started. LABEL may be - to read standard input, a label, UUID or key a line.",
		Flags: []cli.Flag{
			secretFile(), adminSecretFile(), revocations(), ledger("read the ledger in `FILE` (default: minted, beside the secret file)"), localProxy(),
			&cli.BoolFlag{Name: "all", Usage: "list also those that are expired, revoked or without their secret"},
			asJSON(),
		},
		Action: keys,
	}
}

func keys(c *cli.Context) error {
	return keycmd.Keys(c.Context, streams(c), keycmd.KeysOptions{
		Places: places(c), Names: c.Args().Slice(), All: c.Bool("all"), JSON: c.Bool("json"),
	})
}

func secretCommand() *cli.Command {
	return &cli.Command{
		Name:        "secret",
		Usage:       "print a new secret, or change a file of them",
		Description: "Example: ollama-proxy secret --out /etc/ollama-proxy/secret\n\nTo change it: --rotate FILE and, once the new keys are where they belong, --retire FILE.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "out", Usage: "create `FILE` (readable by its owner only) instead; never writes over one"},
			&cli.BoolFlag{Name: "if-missing", Usage: "with --out: be content with a secret that is there"},
			&cli.StringFlag{Name: "derive", Usage: "print the secret that follows from the first one of --secret-file for a site or a tenant called `NAME`; it is the same each time"},
			secretFile(),
			cmdline.StringFlag("rotate", "", "put a new secret on the first line of `FILE`: it makes new keys, and old ones go on"),
			cmdline.StringFlag("retire", "", "take all secrets but the first out of `FILE`: keys of theirs end"),
			&cli.BoolFlag{Name: "yes", Usage: "with --retire: do not ask"},
			revocations(),
			ledger("with --retire: count the keys that end in the ledger in `FILE`, or not: none (default: minted, beside the secret file)"),
		},
		Action: secret,
	}
}

func secret(c *cli.Context) error {
	if err := cmdline.Arguments(c, 0, ""); err != nil {
		return err
	}
	if name := c.String("derive"); c.IsSet("derive") {
		for _, other := range []string{"out", "if-missing", "rotate", "retire", "yes"} {
			if c.IsSet(other) {
				return fmt.Errorf("--derive prints a secret: --%s is not for it", other)
			}
		}
		return keycmd.DeriveSecret(streams(c), c.String("secret-file"), name)
	}
	return keycmd.Secret(c.Context, streams(c), keycmd.SecretOptions{
		Places: places(c), Out: c.String("out"), IfMissing: c.Bool("if-missing"),
		Rotate: c.String("rotate"), Retire: c.String("retire"), Yes: c.Bool("yes"),
	})
}

func inspectCommand() *cli.Command {
	return &cli.Command{
		Name:        "inspect",
		Usage:       "say what a key is; with the secret, also whether it is valid",
		ArgsUsage:   "KEY",
		Description: "Example: ollama-proxy inspect --json OLLAMA-…\n\nExits 1 if the key would be refused. KEY may be - to read it from standard input.",
		Flags: []cli.Flag{
			secretFile(), adminSecretFile(), revocations(), localProxy(), asJSON(),
			&cli.StringFlag{Name: "remote", Usage: "ask the ollama-proxy at `URL` what the key may do there, and what is left of its limits"},
			&cli.BoolFlag{Name: "insecure", Usage: "with --remote: send the key over plain http to another machine"},
		},
		Action: inspect,
	}
}

func inspect(c *cli.Context) error {
	if err := cmdline.Arguments(c, 1, "KEY"); err != nil {
		return err
	}
	if c.IsSet("remote") {
		remote, _, err := connect.ParseRemote(c.String("remote"), c.Bool("insecure"))
		if err != nil {
			return fmt.Errorf("--remote: %w", err)
		}
		return keycmd.InspectRemote(c.Context, streams(c), keycmd.RemoteOptions{Key: c.Args().First(), Remote: remote, JSON: c.Bool("json")})
	}
	return keycmd.Inspect(c.Context, streams(c), keycmd.InspectOptions{
		Places: places(c), Key: c.Args().First(), JSON: c.Bool("json"),
	})
}

func restrictCommand() *cli.Command {
	return &cli.Command{
		Name:        "restrict",
		Usage:       "print a narrower key; needs no secret",
		ArgsUsage:   "KEY",
		Description: "Example: ollama-proxy restrict --models llama3.2 --expires-in 24h OLLAMA-…\n\nKEY may be - to read it from standard input.",
		Flags: caveatFlags(asJSON(), &cli.BoolFlag{Name: "no-id", Usage: "give it no id of its own, by which it can be revoked alone"},
			ledger("note the key, never the key itself, in the ledger in `FILE`")),
		Action: restrict,
	}
}

func restrict(c *cli.Context) error {
	if err := cmdline.Arguments(c, 1, "KEY"); err != nil {
		return err
	}
	more, err := caveats(c)
	if err != nil {
		return err
	}
	return keycmd.Restrict(streams(c), keycmd.RestrictOptions{
		Key: c.Args().First(), Caveats: more, NoID: c.Bool("no-id"), Ledger: c.String("ledger"), JSON: c.Bool("json"),
	})
}

func revokeCommand() *cli.Command {
	return &cli.Command{
		Name:        "revoke",
		Usage:       "put keys on the list of revoked ones; needs no secret",
		ArgsUsage:   "KEY|UUID|LABEL …",
		Description: "Example: ollama-proxy revoke --revocations /etc/ollama-proxy/revocations --reason 'laptop lost' alice\n\nEvery key made from a revoked one is revoked with it. A LABEL is looked for in the ledger. KEY may be - to read standard input, one a line.",
		Flags: []cli.Flag{
			revocations(),
			&cli.BoolFlag{Name: "create", Usage: "make the list if there is none"},
			cmdline.StringFlag("all-of", "", "revoke every key that has the label `TEXT` in the ledger"),
			&cli.StringFlag{Name: "reason", Usage: "note `TEXT` beside them"},
			&cli.StringFlag{Name: "before", Usage: "revoke every key minted before `TIME` (RFC 3339, a date, or now)"},
			cmdline.StringFlag("secret-file", "", "the ledger is beside the secret in `FILE`; nothing else is made of it"),
			ledger("look for labels in the ledger in `FILE` (default: minted, beside the secret file)"), localProxy(),
		},
		Action: revoke,
	}
}

func revoke(c *cli.Context) error {
	return keycmd.Revoke(c.Context, streams(c), keycmd.RevokeOptions{
		Places: places(c), Keys: c.Args().Slice(), AllOf: c.String("all-of"),
		Reason: c.String("reason"), Before: c.String("before"), Create: c.Bool("create"),
	})
}

func connectCommand() *cli.Command {
	return &cli.Command{
		Name:        "connect",
		Usage:       "be a local Ollama without keys that forwards to a remote ollama-proxy",
		ArgsUsage:   "URL",
		Description: "Example: ollama-proxy connect --key-file ~/.ollama-key https://gpu.example.com\n\nThe key may also be in OLLAMA_PROXY_KEY. The stock ollama command then works as it is.",
		Flags: []cli.Flag{
			cmdline.StringFlag("listen", "127.0.0.1:11434", "serve this machine on `ADDRESS`"),
			cmdline.StringFlag("key-file", "", "read the key from `FILE`, or - from standard input"),
			cmdline.StringFlag("upstream", "", "send everything to the Ollama that the remote calls `NAME`, as ollama create needs it where there are several; takes an ADMIN key"),
			&cli.BoolFlag{Name: "share-key", Usage: "let --listen be an address that other machines or containers reach: everyone who reaches it uses your key"},
			&cli.BoolFlag{Name: "insecure", Usage: "send the key over plain http to another machine"},
		},
		Action: runConnect,
	}
}

// runConnect is the client's side: an Ollama without keys on this machine.
func runConnect(c *cli.Context) error {
	if err := cmdline.Arguments(c, 1, "URL"); err != nil {
		return err
	}
	log, err := server.NewLog(c.App.ErrWriter, "text", "info")
	if err != nil {
		return err
	}
	remote, cut, err := connect.ParseRemote(c.Args().First(), c.Bool("insecure"))
	if err != nil {
		return err
	}
	if cut != "" {
		log.Warn("the URL goes without the path of a route: left out", "path", cut, "remote", remote.Redacted())
	}
	key, exposed, err := connect.ReadKey(c.String("key-file"), c.App.Reader)
	if err != nil {
		return err
	}
	if exposed {
		log.Warn("others than its owner may read the key file: chmod 600 it", "file", c.String("key-file"))
	}
	shared, listen := c.Bool("share-key"), local.ListenLoopback
	connector, err := connect.New(connect.Options{Remote: remote, Key: key, Log: log, Upstream: c.String("upstream"), Shared: shared})
	if err != nil {
		return err
	}
	if shared {
		listen = local.ListenNetwork
	}
	ctx := server.UntilSignal(c.Context)
	l, err := listen(c.String("listen"))
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	if shared {
		log.Warn("everyone who reaches this address uses the key", "address", l.Addr().String())
	}
	log.Info("serving", "address", l.Addr().String(), "remote", remote.Redacted())
	return connect.Serve(ctx, connector, l, time.Minute)
}

func topCommand() *cli.Command {
	return &cli.Command{
		Name:        "top",
		Usage:       "show what goes through the local proxy",
		Description: "Example: ollama-proxy top --metrics-listen 127.0.0.1:9464\n\nOn a terminal it redraws until q or Ctrl-C is pressed; otherwise it prints plain lines.",
		Flags: []cli.Flag{
			cmdline.StringFlag("metrics-listen", "127.0.0.1:9464", "`ADDRESS` on which the proxy serves its status"),
			cmdline.DurationFlag("interval", 2*time.Second, "look every `DURATION`"),
			&cli.BoolFlag{Name: "once", Usage: "look once, and print plain lines"},
		},
		Action: runTop,
	}
}

func runTop(c *cli.Context) error {
	if err := cmdline.Arguments(c, 0, ""); err != nil {
		return err
	}
	if d := c.Duration("interval"); d <= 0 {
		return fmt.Errorf("--interval: %v is not more than 0s", d)
	}
	return top.Run(server.UntilSignal(c.Context), top.Options{
		Address: c.String("metrics-listen"), Interval: c.Duration("interval"), Once: c.Bool("once"), Out: c.App.Writer, In: c.App.Reader,
	})
}

func healthcheckCommand() *cli.Command {
	return &cli.Command{
		Name:        "healthcheck",
		Usage:       "exit 0 if the local proxy is ready",
		Description: "Example: ollama-proxy healthcheck --metrics-listen 127.0.0.1:9464",
		Flags:       []cli.Flag{cmdline.StringFlag("metrics-listen", "127.0.0.1:9464", "`ADDRESS` on which the proxy serves /readyz")},
		Action:      healthcheck,
	}
}

func healthcheck(c *cli.Context) error {
	if err := cmdline.Arguments(c, 0, ""); err != nil {
		return err
	}
	return server.CheckReady(c.Context, c.String("metrics-listen"))
}

func secretFile() cli.Flag {
	return cmdline.StringFlag("secret-file", "", "read secrets from `FILE`, one a line: the first mints, each verifies")
}

func adminSecretFile() cli.Flag {
	return cmdline.StringFlag("admin-secret-file", "", "ADMIN keys are made and verified with the secrets in `FILE` only, all others with those of --secret-file only; none: no ADMIN key is good")
}

func revocations() cli.Flag {
	return cmdline.StringFlag("revocations", "", "keep the list of revoked keys in `FILE` (serve takes a URL, too); default: beside the secret, if that is in its default place, too")
}

func ledger(usage string) cli.Flag { return cmdline.StringFlag("ledger", "", usage) }

func localProxy() cli.Flag {
	return cmdline.StringFlag("metrics-listen", "127.0.0.1:9464", "ask the local proxy on `ADDRESS`, if one answers, whether it has the same secrets and list")
}

// places are where the commands about keys look for what they need.
func places(c *cli.Context) keycmd.Places {
	return keycmd.Places{
		SecretFile: c.String("secret-file"), AdminSecretFile: c.String("admin-secret-file"), Revocations: c.String("revocations"), Ledger: c.String("ledger"), Proxy: c.String("metrics-listen"),
	}
}

func asJSON() cli.Flag { return &cli.BoolFlag{Name: "json", Usage: "print JSON"} }

func caveatFlags(before ...cli.Flag) []cli.Flag {
	return append(before,
		cmdline.StringFlag("expires-in", "", "let it expire after `DURATION`, such as 720h or 30d"),
		cmdline.StringFlag("expires-at", "", "let it expire at `TIME` (RFC 3339, or a date: its first moment in UTC)"),
		cmdline.StringFlag("models", "", "only for these models: `GLOB`,…, such as llama3.2,qwen3:*"),
		cmdline.StringFlag("routes", "", "only for these routes: `CLASS`,… of chat, embed, models and admin"),
		cmdline.StringFlag("from", "", "only from these networks: `CIDR`,…"),
		cmdline.StringFlag("streams", "", "at most `N` requests at once on each replica"),
		cmdline.StringFlag("rpm", "", "at most `N` requests a minute on each replica"),
		cmdline.StringFlag("label", "", "call it `TEXT` in logs and metrics"),
	)
}

// caveats reads the caveat flags, in the order in which help lists them.
func caveats(c *cli.Context) (all []signer.Caveat, err error) {
	for _, flag := range caveatFlags() {
		name := flag.Names()[0]
		if !c.IsSet(name) {
			continue
		}
		made, err := signer.ParseCaveat(name, c.String(name), time.Now())
		if err != nil {
			return nil, fmt.Errorf("--%s: %s", name, strings.TrimPrefix(err.Error(), name+": "))
		}
		all = append(all, made)
	}
	return all, nil
}

func streams(c *cli.Context) keycmd.Streams {
	return keycmd.Streams{In: c.App.Reader, Out: c.App.Writer, Err: c.App.ErrWriter, Columns: cmdline.Columns(c.App.Writer)}
}

// version is what the build was told with -X main.release, or else what Go
// knows of it.
func version() string {
	if release != "" {
		return release
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

var release string
