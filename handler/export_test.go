package handler

import "time"

// BoundSlots has there be n connections to several Ollamas, WaitForSlots has
// requests wait an hour for one, and SlotsTaken is how many there are.
func BoundSlots(p *Proxy, n int) { p.LimitInFlight(0, n) }

func WaitForSlots(p *Proxy) { p.pool.ConnLimit.Timeout = time.Hour }

func SlotsTaken(p *Proxy) int { return len(p.pool.ConnLimit.InUse) }
