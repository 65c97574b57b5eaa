package cmdline

import (
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

// Finish gives every flag its variable, OLLAMA_PROXY_ and its name, and every
// command our words for what is wrong with a flag.
func Finish(commands []*cli.Command) []*cli.Command {
	for _, command := range commands {
		command.OnUsageError, command.Action = UsageError, checkingFlags(command.Action)
		for _, flag := range command.Flags {
			variable := []string{"OLLAMA_PROXY_" + strings.ToUpper(strings.ReplaceAll(flag.Names()[0], "-", "_"))}
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

// StringFlag is a flag whose value is text.
func StringFlag(name, value, usage string) cli.Flag {
	return &cli.StringFlag{Name: name, Value: value, Usage: usage}
}

// DurationFlag is a flag whose value is a duration.
func DurationFlag(name string, value time.Duration, usage string) cli.Flag {
	return &cli.DurationFlag{Name: name, Value: value, Usage: usage}
}

// placeholder is what help shows for a flag's value, and the usage around it.
func placeholder(f cli.DocGenerationFlag) (usage, value string) {
	if before, rest, ok := strings.Cut(f.GetUsage(), "`"); ok {
		value, after, _ := strings.Cut(rest, "`")
		return before + value + after, value
	}
	return f.GetUsage(), ""
}
