package local

import (
	"net/url"
	"slices"
	"strings"
)

// appSchemes are the schemes of the pages that desktop programs show in a window of
// their own (Electron, Tauri, VS Code). No page on the web has such an origin.
var appSchemes = []string{"app", "file", "tauri", "vscode-webview", "vscode-file"}

// IsLocalOrigin reports whether a page of the origin comes from this machine: from a
// server on it, at any port, or from a desktop program. These are the origins that
// Ollama allows unless it is told otherwise, and those of all loopback addresses.
// "null", browser extensions and other schemes are not among them.
func IsLocalOrigin(origin string) bool {
	scheme, rest, ok := strings.Cut(origin, "://")
	if !ok {
		return false
	}
	if slices.Contains(appSchemes, scheme) {
		return strings.Trim(rest, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~:+") == ""
	}
	u, err := url.Parse(origin)
	if err != nil || scheme != "http" && scheme != "https" || u.Host != rest {
		return false // an origin has no user, no path and no query
	}
	// Only a server on this machine is at 0.0.0.0.
	return IsLoopback(u.Hostname()) || u.Hostname() == "0.0.0.0"
}
