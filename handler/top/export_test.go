package top

import "github.com/ollama-proxy/ollama-proxy/handler/status"

// TopLines are the lines of a Status, as Top shows them in so many columns.
func TopLines(s status.Status, width int) (all []string) {
	for _, l := range topLines(s, width) {
		all = append(all, l.text)
	}
	return all
}
