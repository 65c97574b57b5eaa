package handler_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// rooms lists for each package below handler which packages of this module it may import.
// If another import is needed, the code belongs in another package.
var rooms = map[string][]string{
	"socket": {}, "http1": {}, "reqctx": {}, "body": {}, "local": {}, "certs": {}, "cmdline": {}, "table": {}, "endpoint": {},
	"models":     {"signer"},
	"access":     {"signer"},
	"api":        {"models", "signer"},
	"downstream": {"http1", "reqctx", "socket"},
	"transport":  {"body", "http1", "reqctx", "socket"},
	"upstream":   {"body", "endpoint", "models", "signer", "socket", "transport"},
	"keyinfo":    {},
	"":           {"access", "api", "body", "downstream", "keyinfo", "models", "reqctx", "signer", "socket", "transport", "upstream"},
	"status":     {"", "api", "local", "signer", "upstream"},
	"top":        {"status", "table"},
	"connect":    {"api", "downstream", "local", "signer", "socket"},
	"server":     {"", "certs", "downstream", "local", "status"},
	"keycmd":     {"keyinfo", "signer", "status", "table"},
	"standin":    {},

	// These two are for tests.
	"handlertest": {"", "certs", "downstream", "server", "signer", "standin", "status", "transport", "upstream", "api"},
	"e2e":         {},
}

// TestImportsOfEachRoom holds every package to the table.
func TestImportsOfEachRoom(t *testing.T) {
	const module = "github.com/ollama-proxy/ollama-proxy"
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"/handler/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	name := func(path string) string {
		path = strings.TrimPrefix(path, module+"/")
		return strings.TrimPrefix(strings.TrimPrefix(path, "handler"), "/")
	}
	found := 0
	for d := json.NewDecoder(strings.NewReader(string(out))); ; found++ {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		may, known := rooms[name(p.ImportPath)]
		if !known {
			t.Errorf("%s is not in the table: add what it may import", p.ImportPath)
		}
		for _, path := range p.Imports {
			if strings.HasPrefix(path, module) && !slices.Contains(may, name(path)) {
				t.Errorf("%s must not import %s", p.ImportPath, path)
			}
		}
	}
	if found != len(rooms) {
		t.Errorf("there are %d packages, and %d in the table", found, len(rooms))
	}
}
