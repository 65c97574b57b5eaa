package handler

import "context"

// LookUp looks up the names that stand for several Ollamas.
func LookUp(p *Proxy) { p.pool.Resolve(context.Background()) }
