package cmdline

import (
	"embed"
	"slices"
	"strings"
	"text/template"

	"github.com/urfave/cli/v2"
)

// shells are the templates of the shell completions and the manual page.
//
//go:embed shell
var shells embed.FS

// Describe writes the command tree to the application's Writer in the named form: bash,
// zsh, fish or man. A flag's placeholder determines how its value is completed: FILE,
// DIR, alternatives such as text|json, or, for anything else in capitals, not at all. If
// there is no such form, Describe returns an error.
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
