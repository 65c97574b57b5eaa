package cmdline

import (
	"embed"
	"slices"
	"strings"
	"text/template"

	"github.com/urfave/cli/v2"
)

// shells are templates that the command tree is poured into.
//
//go:embed shell
var shells embed.FS

// Describe prints the command tree in the named form. In each, a flag's
// placeholder tells what its value is: FILE, DIR, words to choose from as in
// text|json, or what nobody can complete, such as a key.
func Describe(c *cli.Context, form string) error {
	escapes := map[string]*strings.Replacer{
		"zsh":  strings.NewReplacer("'", `'\''`, `\`, `\\`, "[", `\[`, "]", `\]`, ":", `\:`),
		"fish": strings.NewReplacer("'", `\'`, `\`, `\\`),
		"man":  strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "\n\n", "\n.PP\n", "…", `\&...`),
	}
	t, err := template.New("").Funcs(template.FuncMap{
		"join":   strings.Join,
		"escape": func(text string) string { return escapes[form].Replace(text) },
		"usage":  func(f cli.DocGenerationFlag) string { usage, _ := placeholder(f); return usage },
		"value":  func(f cli.DocGenerationFlag) string { _, value := placeholder(f); return value },
		"many":   func(f cli.Flag) bool { _, many := f.(cli.DocGenerationSliceFlag); return many },
		"flags": func(command *cli.Command) []cli.Flag {
			return append(slices.DeleteFunc(command.VisibleFlags(), func(f cli.Flag) bool { return f == cli.HelpFlag }), cli.HelpFlag)
		},
		"words": func(value string) string {
			if strings.ContainsAny(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") {
				return ""
			}
			return strings.ReplaceAll(value, "|", " ")
		},
	}).ParseFS(shells, "shell/"+form)
	if err != nil {
		return err
	}
	return t.ExecuteTemplate(c.App.Writer, form, c.App)
}
