package cmdline

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// CompletionCommand prints the completion of a shell, see [Describe].
func CompletionCommand() *cli.Command {
	return &cli.Command{
		Name:        "completion",
		Usage:       "print what lets a shell complete commands and flags",
		ArgsUsage:   "bash|zsh|fish",
		Description: "Example: ollama-proxy completion bash > /etc/bash_completion.d/ollama-proxy",
		Action:      completion,
	}
}

func completion(c *cli.Context) error {
	if err := Arguments(c, 1, "SHELL"); err != nil {
		return err
	}
	shell := c.Args().First()
	if !slices.Contains(strings.Split(c.Command.ArgsUsage, "|"), shell) {
		return errors.New("SHELL is bash, zsh or fish; see ollama-proxy completion --help")
	}
	return Describe(c, shell)
}

// ManCommand prints the manual page, see [Describe].
func ManCommand() *cli.Command {
	return &cli.Command{
		Name:        "man",
		Usage:       "print the manual page",
		Description: "Example: ollama-proxy man | man -l -",
		Action:      man,
	}
}

func man(c *cli.Context) error {
	if err := Arguments(c, 0, ""); err != nil {
		return err
	}
	return Describe(c, "man")
}

// VersionCommand prints what --version prints.
func VersionCommand() *cli.Command {
	return &cli.Command{Name: "version", Usage: "print the version", Description: "Example: ollama-proxy version", Action: printVersion}
}

func printVersion(c *cli.Context) error {
	if err := Arguments(c, 0, ""); err != nil {
		return err
	}
	_, err := fmt.Fprintln(c.App.Writer, c.App.Name, "version", c.App.Version)
	return err
}
