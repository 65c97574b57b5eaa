package standin

import "strings"

// cloudHost is where Ollama has models run that are not on its own machine.
const cloudHost = "https://ollama.com:443"

// model is the model that the request names, as its route reads the name.
func (x *exchange) model() string {
	if x.route != nil && x.route.stored {
		return Stored(x.ask.Model)
	}
	return Canonical(x.ask.Model)
}

// isCloud reports whether a name says that its model is at ollama.com.
func isCloud(model string) bool {
	_, source := cutSource(strings.TrimSpace(model))
	return source == "cloud" && Canonical(model) != ""
}

// isLocal reports whether a name says that its model is here.
func isLocal(model string) bool {
	_, source := cutSource(strings.TrimSpace(model))
	return source == "local"
}

// charged returns what about the request acts with the ollama.com account of the machine's owner, see Seen.Account.
func (x *exchange) charged() string {
	switch {
	case x.refusal != nil || x.route == nil || x.unread != nil:
		return ""
	case x.searches():
		return "web_search"
	}
	switch path := x.route.path; path {
	case "/api/me", "/api/signout", "/api/user/{...}", "/api/experimental/{...}":
		return "route"
	case "/api/chat", "/api/generate", "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/v1/audio/transcriptions":
		if isCloud(x.ask.Model) || x.o.isRemote(x.model()) && !isLocal(x.ask.Model) {
			return "model"
		}
	case "/api/show", "/v1/models/{}", "/api/embed", "/api/embeddings", "/v1/embeddings":
		if isCloud(x.ask.Model) {
			return "model"
		}
	case "/api/create":
		if x.ask.remote {
			return "model"
		}
	}
	return ""
}

// searches reports whether the request has the tool with which Ollama itself searches the web.
func (x *exchange) searches() bool {
	for _, t := range x.ask.tools {
		switch x.route.path {
		case "/v1/messages":
			if strings.HasPrefix(t.Type, "web_search") {
				return true
			}
		case "/v1/responses":
			if t.Type == "web_search" {
				return true
			}
		}
	}
	return false
}
