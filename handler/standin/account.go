package standin

import "strings"

// cloudHost is the host that runs the models which Ollama does not run itself.
const cloudHost = "https://ollama.com:443"

// model returns the model that the request names, in the spelling of its route.
func (x *exchange) model() string {
	if x.route != nil && x.route.stored {
		return Stored(x.query.Model)
	}
	return Canonical(x.query.Model)
}

// namesCloud reports whether a name says that its model runs at ollama.com.
func namesCloud(model string) bool {
	_, source := cutSource(strings.TrimSpace(model))
	return source == "cloud" && Canonical(model) != ""
}

// namesLocal reports whether a name says that its model runs on this machine.
func namesLocal(model string) bool {
	_, source := cutSource(strings.TrimSpace(model))
	return source == "local"
}

// accountUse returns Seen.Account.
func (x *exchange) accountUse() string {
	switch {
	case x.refusal != nil || x.route == nil || x.bodyErr != nil:
		return ""
	case x.searches():
		return "web_search"
	}
	switch path := x.route.path; path {
	case "/api/me", "/api/signout", "/api/user/{...}", "/api/experimental/{...}":
		return "route"
	case "/api/chat", "/api/generate", "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/v1/audio/transcriptions":
		if namesCloud(x.query.Model) || x.o.isRemote(x.model()) && !namesLocal(x.query.Model) {
			return "model"
		}
	case "/api/show", "/v1/models/{}", "/api/embed", "/api/embeddings", "/v1/embeddings":
		if namesCloud(x.query.Model) {
			return "model"
		}
	case "/api/create":
		if x.query.remote {
			return "model"
		}
	}
	return ""
}

// searches reports whether the request has the tool that makes Ollama itself search the web.
func (x *exchange) searches() bool {
	for _, t := range x.query.tools {
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
