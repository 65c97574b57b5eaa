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

// UsageError says in our words what the library finds wrong with a flag or a
// variable. It has the name of what is wrong only in its text.
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

// nearest asks whether one of the names was meant by a word that is none.
func nearest(dashes, word string, names []string) (question string) {
	best := 0.8
	for _, name := range names {
		if likeness := smetrics.JaroWinkler(word, name, 0.7, 4); likeness > best {
			best, question = likeness, fmt.Sprintf(" (did you mean %q?)", dashes+name)
		}
	}
	return question
}

// checkingFlags has an action refuse what a shell makes of a variable that it
// does not know: empty, --listen would be all addresses, and --revocations no
// list. An error about a flag also names the variable that set it, if one did.
func checkingFlags(action cli.ActionFunc) cli.ActionFunc {
	return func(c *cli.Context) error {
		for _, flag := range c.Command.Flags {
			name := flag.Names()[0]
			if _, ok := flag.(*cli.StringFlag); ok && c.IsSet(name) && c.String(name) == "" {
				return namingVariable(fmt.Errorf("--%s is empty: give it a value, or leave it out", name), name, flag)
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

func namingVariable(err error, name string, flag cli.Flag) error {
	given := func(arg string) bool {
		arg, _, _ = strings.Cut(strings.TrimLeft(arg, "-"), "=")
		return arg == name
	}
	for _, variable := range flag.(cli.DocGenerationFlag).GetEnvVars() {
		if _, set := os.LookupEnv(variable); set && !slices.ContainsFunc(os.Args[1:], given) {
			return fmt.Errorf("%w (%s says so)", err, variable)
		}
	}
	return err
}

// Arguments refuses any number of arguments but n. urfave/cli stops reading
// flags at the first argument, and would leave a flag after it unread.
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

// UnknownCommand is what the program does without a command that it knows: it shows
// the help, or returns an error that asks whether another command was meant.
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
