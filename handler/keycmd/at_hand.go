package keycmd

import (
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// atHand is which secrets a command knows, and so of which keys it can say whether the
// secret is still there.
type atHand struct {
	secrets []signer.Secret
	admin   []signer.Secret // of ADMIN keys, if apart
	apart   bool            // ADMIN keys are good under their own secrets only

	names map[pool]map[string]bool
}

// pool is some secrets: those at hand, or those of ADMIN keys, or what is derived from
// these for a name.
type pool struct {
	admin   bool
	derived string // "": the secrets themselves
}

// atHand adds the secrets of ADMIN keys, if a file is named, to those found.
func (p Places) atHand(found signer.Found) (hand *atHand, admin signer.Found, err error) {
	hand = &atHand{secrets: found.Secrets}
	if p.AdminSecretFile != "" {
		admin, err = signer.FindAdminSecrets(p.AdminSecretFile)
		hand.admin, hand.apart = admin.Secrets, true
	}
	return hand, admin, err
}

// has reports whether the secret of a key that was minted is at hand, or another from
// which it is derived. If the secrets among which it would be are not at hand, known is
// false.
func (h *atHand) has(e *signer.LedgerEntry) (has, known bool) {
	admin := e.Admin && h.apart
	// The derived secret itself is enough, too: it is what its holder has.
	has = h.named(pool{admin, ""})[e.Secret] || e.Derived != "" && h.named(pool{admin, e.Derived})[e.Secret]
	return has, has || admin || !e.Apart && len(h.secrets) > 0
}

// named gives the names that the secrets of a pool have in a ledger. They are worked out
// once: there may be many keys.
func (h *atHand) named(p pool) map[string]bool {
	if names := h.names[p]; names != nil {
		return names
	}
	secrets := h.secrets
	if p.admin {
		secrets = h.admin
	}
	names := map[string]bool{}
	for _, s := range secrets {
		if p.derived != "" {
			var err error
			if s, _, err = signer.Derive(s, p.derived); err != nil {
				continue // the ledger is damaged: no secret has such a name
			}
		}
		names[signer.LedgerName(s)] = true
	}
	if h.names == nil {
		h.names = map[pool]map[string]bool{}
	}
	h.names[p] = names
	return names
}
