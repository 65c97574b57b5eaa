package cmdline

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"github.com/xrash/smetrics"
)

// UsageError is a cli.OnUsageErrorFunc that rewords what urfave/cli finds wrong with a
// flag or a variable: which one, what value was expected, and the likely intended name
// of an unknown flag. It must take the name from the library's text, because the error
// has no other field.
func UsageError(c *cli.Context, err error, _ bool) error {
	var name, value, kind, variable, wanted string
	is := func(format string, parts ...any) bool {
		n, _ := fmt.Sscanf(err.Error(), format, parts...)
		return n == len(parts)
	}
	unknown := is("flag provided but not defined: -%s", &name)
	missing := is("flag needs an argument: -%s", &name)
	bad := is("invalid value %q for flag -%s", &value, &name) || is("invalid boolean value %q for -%s", &value, &name) ||
		is("could not parse %q as %s value from environment variable %q for flag %s", &value, &kind, &variable, &name)
	name = strings.TrimSuffix(name, ":")
	var names []string
	for _, flag := range append(c.Command.Flags, cli.HelpFlag) {
		names = append(names, flag.Names()[0])
		if flag.Names()[0] != name {
			continue
		}
		switch f := flag.(type) {
		case *cli.IntFlag:
			wanted = "a whole number such as 10"
		case *cli.DurationFlag:
			wanted = "a duration such as 30s or 5m"
		case *cli.BoolFlag:
			wanted = "true or false"
		case cli.DocGenerationFlag:
			_, wanted = placeholder(f)
		}
	}
	switch {
	case unknown:
		err = fmt.Errorf("there is no flag --%s%s", name, nearest("--", name, names))
	case missing:
		err = fmt.Errorf("--%s needs a value after it: %s", name, wanted)
	case bad:
		err = fmt.Errorf("%s: %q is not %s", cmp.Or(variable, "--"+name), value, wanted)
	}
	return fmt.Errorf("%w; see %s --help", err, c.Command.HelpName)
}

// nearest returns a question that proposes the name most similar to an unknown word, or
// "" if none is similar.
func nearest(dashes, word string, names []string) (question string) {
	best := 0.8
	for _, name := range names {
		if likeness := smetrics.JaroWinkler(word, name, 0.7, 4); likeness > best {
			best, question = likeness, fmt.Sprintf(" (did you mean %q?)", dashes+name)
		}
	}
	return question
}

// checkingFlags wraps an action. It refuses a flag that is set but empty, as a shell
// passes an unset variable: an empty --listen would mean all addresses, and an empty
// --revocations no list. If the action's error begins with a flag, the variable that set
// it is added.
func checkingFlags(action cli.ActionFunc) cli.ActionFunc {
	return func(c *cli.Context) error {
		for _, flag := range c.Command.Flags {
			name := flag.Names()[0]
			if _, ok := flag.(*cli.StringFlag); ok && c.IsSet(name) && c.String(name) == "" {
				return fmt.Errorf("--%s is empty: give it a value, or leave it out", name)
			}
		}
		err := action(c)
		for _, flag := range c.Command.Flags {
			if name := flag.Names()[0]; err != nil && strings.HasPrefix(err.Error(), "--"+name+": ") {
				return namingVariable(err, name, flag)
			}
		}
		return err
	}
}

// namingVariable adds to err the environment variable that set the flag, if it was not
// set on the command line.
func namingVariable(err error, name string, flag cli.Flag) error {
	given := func(arg string) bool {
		arg, _, _ = strings.Cut(strings.TrimLeft(arg, "-"), "=")
		return arg == name
	}
	for _, variable := range flag.(cli.DocGenerationFlag).GetEnvVars() {
		if _, set := os.LookupEnv(variable); set && !slices.ContainsFunc(os.Args[1:], given) {
			return fmt.Errorf("%w (set by %s)", err, variable)
		}
	}
	return err
}

// Arguments returns an error unless the command has exactly n arguments; what names them
// in errors. urfave/cli stops reading flags at the first argument, so a flag after one
// is an error as well.
func Arguments(c *cli.Context, n int, what string) error {
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

// UnknownCommand is the action of the program itself, which runs if the first word is
// not a command. Without a word, or for "help", it shows the help; otherwise it returns
// an error that proposes the most similar command.
func UnknownCommand(c *cli.Context) error {
	name := c.Args().First()
	var names []string
	for _, command := range c.App.Commands {
		names = append(names, command.Names()...)
	}
	switch {
	case name == "help" && slices.Contains(names, c.Args().Get(1)):
		return cli.ShowCommandHelp(c, c.Args().Get(1))
	case name == "" || name == "help":
		return cli.ShowAppHelp(c)
	case strings.HasPrefix(name, "OLLAMA-"):
		return errors.New("a key comes after a command, such as inspect; see ollama-proxy --help")
	}
	return fmt.Errorf("there is no command %q%s; see ollama-proxy --help", name, nearest("", name, names))
}
