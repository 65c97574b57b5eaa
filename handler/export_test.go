package handler

import (
	"context"
	"time"
)

// LookUp looks up the names that stand for several Ollamas, as is done at intervals.
func LookUp(p *Proxy) { p.pool.Resolve(context.Background()) }

// LimitUpstreamConns limits the connections to several Ollamas to n.
func LimitUpstreamConns(p *Proxy, n int) { p.LimitInFlight(0, n) }

// WaitForUpstreamConns makes a request wait up to an hour for a connection.
func WaitForUpstreamConns(p *Proxy) { p.pool.ConnLimit.Timeout = time.Hour }

// UpstreamConnsInUse returns how many connections to several Ollamas there are.
func UpstreamConnsInUse(p *Proxy) int { return len(p.pool.ConnLimit.InUse) }
