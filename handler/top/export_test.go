package top

import "github.com/ollama-proxy/ollama-proxy/handler/status"

// StatusLines returns the text of the lines that statusLines returns.
func StatusLines(s status.Status, width int) (all []string) {
	for _, l := range statusLines(s, width) {
		all = append(all, l.text)
	}
	return all
}
