package cmdline

import (
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

// Finish completes the commands and returns them: each flag can also be set by a
// variable, OLLAMA_PROXY_ and its name in capitals; errors are worded by [UsageError];
// and flags that are set but empty are refused. It deletes empty variables from the
// environment: a shell, or a compose file, makes an empty one of a variable that it does
// not know, and nobody means an empty address or list.
//
// What a new key may do is said on the command line only: a variable in somebody's
// profile, such as OLLAMA_PROXY_ADMIN, would count for every key, and nobody would see it.
func Finish(commands []*cli.Command) []*cli.Command {
	for _, command := range commands {
		command.OnUsageError, command.Action = UsageError, checkingFlags(command.Action)
		for _, flag := range command.Flags {
			if makesKeys(command) && !isPlace(flag) {
				continue
			}
			variable := []string{"OLLAMA_PROXY_" + strings.ToUpper(strings.ReplaceAll(flag.Names()[0], "-", "_"))}
			if os.Getenv(variable[0]) == "" {
				os.Unsetenv(variable[0])
			}
			switch f := flag.(type) {
			case *cli.StringFlag:
				f.EnvVars = append(variable, f.EnvVars...)
			case *cli.StringSliceFlag:
				f.EnvVars = append(variable, f.EnvVars...)
			case *cli.BoolFlag:
				f.EnvVars = variable
			case *cli.IntFlag:
				f.EnvVars = variable
			case *cli.DurationFlag:
				f.EnvVars = variable
			}
		}
	}
	return commands
}

// makesKeys reports whether the flags of a command say what a key may do.
func makesKeys(command *cli.Command) bool {
	return command.Name == "mint" || command.Name == "restrict"
}

// isPlace reports whether a flag says where something is, such as a file.
func isPlace(flag cli.Flag) bool {
	switch name := flag.Names()[0]; name {
	case "ledger", "revocations", "metrics-listen":
		return true
	default:
		return strings.HasSuffix(name, "-file")
	}
}

// StringFlag returns a flag with a text value. In usage, backquotes mark the placeholder
// for the value.
func StringFlag(name, value, usage string) cli.Flag {
	return &cli.StringFlag{Name: name, Value: value, Usage: usage}
}

// DurationFlag returns a flag with a duration such as 30s. In usage, backquotes mark the
// placeholder for the value.
func DurationFlag(name string, value time.Duration, usage string) cli.Flag {
	return &cli.DurationFlag{Name: name, Value: value, Usage: usage}
}

// placeholder splits a flag's usage into the text without backquotes, and what stands
// between them.
func placeholder(f cli.DocGenerationFlag) (usage, value string) {
	if before, rest, ok := strings.Cut(f.GetUsage(), "`"); ok {
		value, after, _ := strings.Cut(rest, "`")
		return before + value + after, value
	}
	return f.GetUsage(), ""
}
