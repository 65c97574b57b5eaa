package signer

import "context"

// Keyring is a Verifier together with where its secrets and its list of
// revoked keys come from, so that both can be loaded again while it is in use.
// Its two Reload methods must not be called at the same time as themselves.
type Keyring struct {
	*Verifier
	found Found
	list  *List // nil: no list
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

// ReloadSecrets reads the secret file again and reports whether it holds other
// secrets now. If it cannot be read, or holds none, the secrets that were good
// stay in force and ReloadSecrets returns an error. Secrets that came from the
// environment stay as they are.
func (k *Keyring) ReloadSecrets(context.Context, bool) (changed bool, err error) {
	if k.found.Path == "" {
		return false, nil
	}
	changed, err = k.found.reload()
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
