package upstream

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// discoverInterval is how often names are resolved: DNS servers cache the names of
	// services for about as long.
	discoverInterval = 5 * time.Second

	// maxAddresses bounds the backends that one name may stand for.
	maxAddresses = 256
)

// discover resolves the names that stand for several Ollamas at once, every 5 s, and
// whenever the entries have changed, until the context ends.
func (pl *Pool) discover(ctx context.Context) {
	ticker := time.NewTicker(discoverInterval)
	defer ticker.Stop()
	for {
		pl.Resolve(ctx)
		select {
		case <-ticker.C:
		case <-pl.resolveNow:
		case <-ctx.Done():
			return
		}
	}
}

// Resolve resolves the name of every entry that has Discover set, once, and updates the
// backends. If that fails for a name, the addresses found before are kept: if they are
// gone, they do not respond.
func (pl *Pool) Resolve(ctx context.Context) {
	pl.mu.Lock()
	entries := slices.Clone(pl.entries)
	pl.mu.Unlock()
	var all sync.WaitGroup
	for _, e := range entries {
		if !e.Discover {
			continue
		}
		all.Go(func() {
			found, err := addressesOf(ctx, pl.Resolver, e.URL.Hostname())
			if ctx.Err() == nil {
				pl.setAddresses(e, found, err)
			}
		})
	}
	all.Wait()
}

// setAddresses stores the addresses of an entry, and logs it if they have changed.
func (pl *Pool) setAddresses(e Upstream, addresses []netip.Addr, err error) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	if !slices.ContainsFunc(pl.entries, func(other Upstream) bool { return other.String() == e.String() }) {
		return // the entry has been removed meanwhile
	}
	if err != nil {
		if !pl.lookupFailed[e.Name] {
			pl.Logger.Warn("the name of an upstream cannot be resolved: the addresses found before are kept", "upstream", e.Name, "error", err)
		}
		pl.lookupFailed[e.Name] = true
		return
	}
	if old := pl.addresses[e.Name]; pl.lookupFailed[e.Name] || !slices.Equal(old, addresses) {
		pl.Logger.Info("the name of an upstream was resolved", "upstream", e.Name, "addresses", len(addresses))
	}
	delete(pl.lookupFailed, e.Name)
	pl.addresses[e.Name] = addresses
	pl.reconcile()
}

// addressesOf returns the addresses of a host, sorted. If it has IPv4 addresses, those
// of IPv6 are left out, since they belong to the same machines.
func addressesOf(ctx context.Context, resolver *net.Resolver, host string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	all, err := resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	var four, six []netip.Addr
	for _, a := range all {
		if a = a.Unmap(); a.Is4() {
			four = append(four, a)
		} else {
			six = append(six, a)
		}
	}
	if len(four) == 0 {
		four = six
	}
	slices.SortFunc(four, netip.Addr.Compare)
	four = slices.Compact(four)
	return four[:min(len(four), maxAddresses)], nil
}

// expand returns the Ollamas that an entry stands for. The lock is held.
func (pl *Pool) expand(e Upstream) []Upstream {
	if !e.Discover {
		return []Upstream{e}
	}
	var all []Upstream
	for _, a := range pl.addresses[e.Name] {
		one := e
		one.Name, one.address = e.Name+"@"+a.String(), net.JoinHostPort(a.String(), e.URL.Port())
		all = append(all, one)
	}
	return all
}
