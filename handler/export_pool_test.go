package handler

import "context"

// LookUp looks up the names that stand for several Ollamas.
func LookUp(p *Proxy) { p.pool.LookUp(context.Background()) }
