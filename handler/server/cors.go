package server

import (
	"fmt"
	"net/http"

	"github.com/jub0bs/cors"
)

// AllowOrigins returns CORS middleware that lets web pages of the origins use the proxy. It
// answers their preflights, which carry no key, and tells browsers to give the pages the
// answers. Pages must send a key like all other clients: cookies do not count.
//
// An origin is written like https://chat.example.com; https://*.example.com stands for all
// below that name, and "*" for all pages there are. Without origins the middleware is nil.
// If an origin does not parse, or would let in more than it seems to, AllowOrigins returns
// an error.
func AllowOrigins(origins []string) (func(http.Handler) http.Handler, error) {
	if len(origins) == 0 {
		return nil, nil
	}
	middleware, err := cors.NewMiddleware(cors.Config{
		Origins: origins,
		Methods: []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodDelete},
		// Every client library has headers of its own; only Authorization is
		// not covered by the star.
		RequestHeaders:  []string{"*", "Authorization"},
		ResponseHeaders: []string{"X-Request-Id", "Retry-After", "X-Should-Retry", "X-Ratelimit-Limit-Requests", "X-Ratelimit-Remaining-Requests", "X-Ratelimit-Reset-Requests"},
		MaxAgeInSeconds: 600,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: write it like https://chat.example.com", err)
	}
	return middleware.Wrap, nil
}
