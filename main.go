// Command ollama-proxy lets only requests with a valid API key reach Ollama.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
	"github.com/ollama-proxy/ollama-proxy/metrics"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

func main() {
	if err := newApp().Run(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "ollama-proxy:", strings.ReplaceAll(err.Error(), "\n", " "))
		os.Exit(1)
	}
}

func newApp() *cli.App {
	return &cli.App{
		Name:            "ollama-proxy",
		Usage:           "let only requests with a valid API key reach Ollama",
		Version:         version(),
		Suggest:         true,
		HideHelpCommand: true,
		ExitErrHandler:  func(*cli.Context, error) {},
		OnUsageError:    usageError,
		Action:          unknownCommand,
		Commands: []*cli.Command{
			{
				Name:  "serve",
				Usage: "run the proxy",
				Description: "Example: ollama-proxy serve --listen 0.0.0.0:8080 --secret-file /etc/ollama-proxy/secret\n\n" +
					"Without a secret anywhere, serve creates one and prints a first key.",
				Flags: []cli.Flag{
					text("listen", "127.0.0.1:8080", "serve clients on `ADDRESS`"),
					&cli.StringFlag{Name: "upstream", Value: "http://127.0.0.1:11434", EnvVars: []string{"OLLAMA_PROXY_UPSTREAM", "OLLAMA_HOST"}, Usage: "`URL` of Ollama"},
					secretFile,
					text("metrics-listen", "127.0.0.1:9464", "serve /metrics, /healthz and /readyz on `ADDRESS`"),
					text("max-body", "64MiB", "refuse request bodies over `SIZE`, uploads of blobs apart"),
					&cli.IntFlag{Name: "max-in-flight", EnvVars: env("max-in-flight"), Usage: "refuse requests while `N` are in flight (0: no bound)"},
					span("first-byte-timeout", 15*time.Minute, "wait so long for Ollama to begin its answer"),
					span("stall-timeout", 5*time.Minute, "give up a transfer in which nothing moved for so long"),
					span("shutdown-grace", time.Minute, "let running requests finish for so long after SIGTERM"),
					text("log-format", "text", "`FORMAT` of the log: text or json"),
					text("log-level", "info", "log from `LEVEL` on: debug, info, warn or error"),
					&cli.BoolFlag{Name: "demo", EnvVars: env("demo"), Usage: "need nothing: a stand-in Ollama, a throw-away secret and a key on the screen"},
				},
				Action: serve,
			},
			{
				Name:        "mint",
				Aliases:     []string{"generateAPIKey"},
				Usage:       "print a new key; needs the secret and nothing else",
				Description: "Example: ollama-proxy mint --secret-file /etc/ollama-proxy/secret --count 3",
				Flags: []cli.Flag{
					secretFile,
					&cli.BoolFlag{Name: "admin", Usage: "make keys that reach the management routes (pull, push, create, copy, delete)"},
					&cli.IntFlag{Name: "count", Value: 1, Usage: "make `N` keys, one a line"},
					asJSON,
				},
				Action: mint,
			},
			{
				Name:        "secret",
				Usage:       "print a new secret",
				Description: "Example: ollama-proxy secret --out /etc/ollama-proxy/secret",
				Flags:       []cli.Flag{&cli.StringFlag{Name: "out", Usage: "create `FILE` (readable by its owner only) instead; never writes over one"}},
				Action:      secret,
			},
			{
				Name:        "inspect",
				Usage:       "say what a key is; with the secret, also whether it is valid",
				ArgsUsage:   "KEY   (or - to read it from standard input)",
				Description: "Example: ollama-proxy inspect --json OLLAMA-…\n\nExits 1 if the key would be refused.",
				Flags:       []cli.Flag{secretFile, asJSON},
				Action:      inspect,
			},
			{
				Name:        "healthcheck",
				Usage:       "exit 0 if the local proxy is ready",
				Description: "Example: ollama-proxy healthcheck --metrics-listen 127.0.0.1:9464",
				Flags:       []cli.Flag{text("metrics-listen", "127.0.0.1:9464", "`ADDRESS` on which the proxy serves /readyz")},
				Action:      healthcheck,
			},
		},
	}
}

var (
	secretFile = &cli.StringFlag{Name: "secret-file", EnvVars: env("secret-file"), Usage: "read secrets from `FILE`, one a line: the first mints, each verifies"}
	asJSON     = &cli.BoolFlag{Name: "json", Usage: "print JSON"}
)

func env(flag string) []string {
	return []string{"OLLAMA_PROXY_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))}
}

func text(name, value, usage string) cli.Flag {
	return &cli.StringFlag{Name: name, Value: value, EnvVars: env(name), Usage: usage}
}

func span(name string, value time.Duration, usage string) cli.Flag {
	return &cli.DurationFlag{Name: name, Value: value, EnvVars: env(name), Usage: usage}
}

func serve(c *cli.Context) error {
	if err := arguments(c, 0, ""); err != nil {
		return err
	}
	log, err := handler.NewLog(c.App.ErrWriter, c.String("log-format"), c.String("log-level"))
	if err != nil {
		return err
	}
	maxBody, err := handler.ParseSize(c.String("max-body"))
	if err != nil {
		return fmt.Errorf("--max-body: %w", err)
	}
	public, err := net.Listen("tcp", c.String("listen"))
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	private, err := net.Listen("tcp", c.String("metrics-listen"))
	if err != nil {
		return fmt.Errorf("--metrics-listen: %w", err)
	}
	secrets, upstream, err := prepare(c, log, "http://"+handler.Reachable(public.Addr().String()))
	if err != nil {
		return err
	}
	target, err := handler.ParseUpstream(upstream)
	if err != nil {
		return fmt.Errorf("--upstream: %w", err)
	}

	m := metrics.New(version(), metrics.Labels{
		Routes:         handler.RouteNames(),
		RefusalReasons: handler.RefusalReasons(),
		UpstreamErrors: handler.UpstreamErrors(),
	})
	server := &handler.Server{
		Proxy: handler.New(handler.Options{
			Upstream:         target,
			Keys:             signer.NewVerifier(secrets...),
			Recorder:         m,
			Log:              log,
			MaxBody:          maxBody,
			MaxInFlight:      c.Int("max-in-flight"),
			FirstByteTimeout: c.Duration("first-byte-timeout"),
			StallTimeout:     c.Duration("stall-timeout"),
		}),
		Metrics: m.Handler(),
		Grace:   c.Duration("shutdown-grace"),
	}
	log.Info("serving", "address", public.Addr().String(), "metrics", private.Addr().String(), "version", version())
	if !public.Addr().(*net.TCPAddr).IP.IsLoopback() {
		log.Warn("keys and prompts travel in the clear: put TLS in front before others use this address")
	}
	ctx, stop := signal.NotifyContext(c.Context, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	return server.Serve(ctx, public, private)
}

// prepare finds the secrets and Ollama. Who has no secret yet, or asks for a
// demo, gets one, and a key to begin with.
func prepare(c *cli.Context, log *slog.Logger, address string) (secrets []signer.Secret, upstream string, err error) {
	if c.Bool("demo") {
		ollama, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, "", err
		}
		go http.Serve(ollama, standin.New(standin.Options{Pace: 40 * time.Millisecond}))
		s, _ := signer.NewSecret()
		return []signer.Secret{s}, ollama.Addr().String(), greet(c, s, address,
			"A demo: a stand-in answers instead of Ollama, and the key is good until you stop it.")
	}
	found, err := signer.FindSecrets(c.String("secret-file"))
	if errors.Is(err, signer.ErrNoSecret) {
		if found, err = signer.MakeDefaultSecret(); err == nil {
			err = greet(c, found.Secrets[0], address, "Made a new secret: "+found.Path+"\nWhoever has it can make keys: back it up, and show it to nobody.")
		}
	}
	if found.Exposed {
		log.Warn("others than its owner may read the secret file: chmod 600 it", "file", found.Path)
	}
	return found.Secrets, c.String("upstream"), err
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

func mint(c *cli.Context) error {
	if err := arguments(c, 0, ""); err != nil {
		return err
	}
	n := c.Int("count")
	if n < 1 || n > 1_000_000 {
		return fmt.Errorf("--count: %d is not from 1 to 1000000", n)
	}
	found, err := signer.FindSecrets(c.String("secret-file"))
	if err != nil {
		return err
	}
	out := bufio.NewWriter(c.App.Writer)
	for range n {
		key, err := signer.Mint(found.Secrets[0], c.Bool("admin"))
		if err != nil {
			return err
		}
		if err := printKey(out, c.Bool("json"), key); err != nil {
			return err
		}
	}
	return out.Flush()
}

func secret(c *cli.Context) error {
	if err := arguments(c, 0, ""); err != nil {
		return err
	}
	if path := c.String("out"); path != "" {
		if _, err := signer.CreateSecretFile(path); err != nil {
			return err
		}
		fmt.Fprintln(c.App.ErrWriter, "Made a new secret:", path)
		return nil
	}
	_, text := signer.NewSecret()
	_, err := fmt.Fprintln(c.App.Writer, text)
	return err
}

// inspect tells what a key says and, where a secret is at hand, whether it is
// true.
func inspect(c *cli.Context) error {
	key, err := keyArgument(c)
	if err != nil {
		return err
	}
	found, err := signer.FindSecrets(c.String("secret-file"))
	if err != nil && !errors.Is(err, signer.ErrNoSecret) {
		return err
	}
	claims, err := signer.Inspect(key)
	if err != nil {
		return err
	}
	verdict := "not checked: there is no secret at hand"
	if len(found.Secrets) > 0 {
		verdict = "valid"
		if _, err = signer.NewVerifier(found.Secrets...).Verify(key, time.Now()); err != nil {
			verdict = "refused: " + err.Error()
		}
	}
	if c.Bool("json") {
		report := claims.Report()
		report["verdict"] = verdict
		return errors.Join(json.NewEncoder(c.App.Writer).Encode(report), err)
	}
	for _, line := range append(claims.Words(), "verdict: "+verdict) {
		fmt.Fprintln(c.App.Writer, line)
	}
	return err
}

func healthcheck(c *cli.Context) error {
	if err := arguments(c, 0, ""); err != nil {
		return err
	}
	return handler.CheckReady(c.Context, c.String("metrics-listen"))
}

// arguments refuses any number of arguments but n. urfave/cli stops reading
// flags at the first argument, and would leave a flag after it unread.
func arguments(c *cli.Context, n int, what string) error {
	args := c.Args().Slice()
	for i, arg := range args {
		if i > 0 && len(arg) > 1 && arg[0] == '-' {
			return fmt.Errorf("%s comes too late: flags go before the %s", strings.SplitN(arg, "=", 2)[0], what)
		}
	}
	switch {
	case len(args) > n && n == 0:
		return fmt.Errorf("%s takes flags only; see ollama-proxy %[1]s --help", c.Command.Name)
	case len(args) > n:
		return fmt.Errorf("%d words too many after the %s; see ollama-proxy %s --help", len(args)-n, what, c.Command.Name)
	case len(args) < n:
		return fmt.Errorf("no %s given; see ollama-proxy %s --help", what, c.Command.Name)
	}
	return nil
}

// keyArgument is the key given as the argument, or with "-" on standard input,
// where the process list does not show it.
func keyArgument(c *cli.Context) (string, error) {
	if err := arguments(c, 1, "KEY"); err != nil {
		return "", err
	}
	if key := c.Args().First(); key != "-" {
		return key, nil
	}
	line, err := bufio.NewReader(io.LimitReader(c.App.Reader, 1<<16)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return strings.TrimSpace(line), nil
}

func printKey(w io.Writer, asJSON bool, key string) error {
	if !asJSON {
		_, err := fmt.Fprintln(w, key)
		return err
	}
	claims, err := signer.Inspect(key)
	if err != nil {
		return err
	}
	report := claims.Report()
	report["key"] = key
	return json.NewEncoder(w).Encode(report)
}

func unknownCommand(c *cli.Context) error {
	if name := c.Args().First(); name != "" {
		return fmt.Errorf("there is no command %q; see ollama-proxy --help", name)
	}
	return cli.ShowAppHelp(c)
}

func usageError(c *cli.Context, err error, _ bool) error {
	return fmt.Errorf("%w; see %s --help", err, c.Command.HelpName)
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
