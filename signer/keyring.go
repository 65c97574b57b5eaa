package signer

import (
	"context"
	"sync"
)

// Keyring is a Verifier together with where its secrets and its list of
// revoked keys come from, so that both can be loaded again while it is in use.
// Its Reload methods may be called at the same time, but ReloadRevocations not while it
// is under way.
type Keyring struct {
	*Verifier
	list *List // nil: no list

	reloading sync.Mutex // held while one of these is in use
	found     Found
	admin     *Found // nil: ADMIN keys have no secrets of their own
}

// OpenKeyring returns a Keyring of the secrets found and the revocations at a
// location, a path or a URL; "" means that there are none. If the list cannot be
// read, OpenKeyring fails: a server that does not know which keys are revoked
// must not start.
func OpenKeyring(ctx context.Context, found Found, location string) (*Keyring, error) {
	k := &Keyring{Verifier: NewVerifier(found.Secrets...), found: found}
	if location == "" {
		return k, nil
	}
	source, err := NewSource(location)
	if err != nil {
		return nil, err
	}
	k.list = NewList(source)
	_, err = k.ReloadRevocations(ctx, true)
	return k, err
}

// UseAdminSecrets makes ADMIN keys good under the secrets found, and under no others.
// Found comes from [FindAdminSecrets]; with no secrets in it, no ADMIN key is good. If one
// of the secrets makes other keys, too, UseAdminSecrets returns an error: whoever holds
// such a one could make ADMIN keys.
func (k *Keyring) UseAdminSecrets(found Found) error {
	k.reloading.Lock()
	defer k.reloading.Unlock()
	if err := disjoint(found.Secrets, k.found.Secrets); err != nil {
		return err
	}
	k.admin = &found
	k.SetAdminSecrets(found.Secrets)
	return nil
}

// ReloadAdminSecrets does for the secrets of ADMIN keys what ReloadSecrets does for those
// of others. Where there are none from a file, it does nothing.
func (k *Keyring) ReloadAdminSecrets(context.Context, bool) (changed bool, err error) {
	k.reloading.Lock()
	defer k.reloading.Unlock()
	if k.admin == nil || k.admin.Path == "" {
		return false, nil
	}
	changed, err = k.admin.reload(k.found.Secrets)
	if changed {
		k.SetAdminSecrets(k.admin.Secrets)
	}
	return changed, err
}

// ReloadSecrets reads the secret file again and reports whether it holds other
// secrets now. If it cannot be read, holds none, or one of the ADMIN keys', the secrets that were good
// stay in force and ReloadSecrets returns an error. Secrets that came from the
// environment stay as they are.
func (k *Keyring) ReloadSecrets(context.Context, bool) (changed bool, err error) {
	k.reloading.Lock()
	defer k.reloading.Unlock()
	if k.found.Path == "" {
		return false, nil
	}
	var admin []Secret
	if k.admin != nil {
		admin = k.admin.Secrets
	}
	changed, err = k.found.reload(admin)
	if changed {
		k.SetSecrets(k.found.Secrets)
	}
	return changed, err
}

// ReloadRevocations loads the list again, see [List.Reload].
func (k *Keyring) ReloadRevocations(ctx context.Context, force bool) (changed bool, err error) {
	if k.list == nil {
		return false, nil
	}
	changed, err = k.list.Reload(ctx, force)
	if changed {
		k.SetRevocations(k.list.Current())
	}
	return changed, err
}

// Revocations is how many keys the list in force revokes.
func (k *Keyring) Revocations() int {
	if k.list == nil {
		return 0
	}
	return k.list.Current().Len()
}

// RevocationsHash is the [Revocations.Hash] of the list in force.
func (k *Keyring) RevocationsHash() uint64 {
	if k.list == nil {
		return 0
	}
	return k.list.Current().Hash()
}
