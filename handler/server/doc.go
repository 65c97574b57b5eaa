// Package server runs a proxy: its public and its private listener, reloads, and the
// drain at the end.
//
// [Server.Serve] runs until its context ends or a listener fails. Then it drains:
// readiness fails, answers close their connections, new requests get 503, and running
// requests finish within a grace; what still runs then is cut. Secrets, revocations,
// certificates and lists of Ollamas are reloaded at an interval and on request; a
// reload that fails leaves in force what was good, and metrics and log say so.
//
// The private listener serves /metrics, /healthz, /readyz and the status page. It must
// never be public.
package server
