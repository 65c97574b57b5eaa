//go:build unix

package main

import (
	"encoding/json"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
)

// board holds the expressions and variables of a dashboard.
type board struct {
	Title       string
	Panels      []panel
	Templating  struct{ List []variable }
	Annotations struct{ List []struct{ Target target } }
}

type panel struct {
	Title   string
	Targets []target
	Panels  []panel
}

type target struct{ RefID, Expr string }

type variable struct {
	Name, Type, AllValue string
	Query                any
}

func readBoard(file string) (b board) {
	kit.Must(json.Unmarshal([]byte(kit.ReadFile(file)), &b), "reading %s", file)
	return b
}
