package server

import (
	"fmt"
	"net/http"

	"github.com/jub0bs/cors"
)

// AllowOrigins returns what lets web pages of the given origins use the proxy:
// it answers their preflights, which carry no key, and tells browsers to hand
// them the answers. Origins are like https://chat.example.com, with
// https://*.example.com for all below; "*" is every page there is. Pages must send a
// key like all others: cookies are never asked for. No origins at all are let in
// by nil. If an origin does not parse, or would let in more than it seems to,
// AllowOrigins returns an error.
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
		ResponseHeaders: []string{"X-Request-Id", "Retry-After", "X-Ratelimit-Limit-Requests", "X-Ratelimit-Remaining-Requests", "X-Ratelimit-Reset-Requests"},
		MaxAgeInSeconds: 600,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: write it like https://chat.example.com", err)
	}
	return middleware.Wrap, nil
}
