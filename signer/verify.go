package signer

import (
	"crypto/hmac"
	"errors"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// The reasons for which a key is refused.
var (
	ErrMalformed    = errors.New("malformed key: one looks like OLLAMA-<uuid>.<tag>")
	ErrBadSignature = errors.New("bad signature: the key was made with another secret, or changed since")
	ErrExpired      = errors.New("expired key")
	ErrRevoked      = errors.New("revoked key")
)

// Key is what a genuine key says. Only [Verifier.Verify] makes one.
type Key struct {
	ID     uuid.UUID
	Admin  bool
	Limits Limits
}

// Label is the key's first label, or empty.
func (k *Key) Label() string { return k.Limits.Label() }

// Minted returns when the key was minted. If its UUID carries no time, ok is false.
func (k *Key) Minted() (t time.Time, ok bool) { return mintedAt(k.ID) }

// Name is the key's UUID and, where it has id caveats, "~" and the last of them. The UUID
// is the word of whoever minted the key, the id that of whoever narrowed it.
func (k *Key) Name() string { return nameOf(k.ID, k.Limits) }

// Verifier tells genuine keys from others. It is safe for concurrent use, and
// Verify takes no lock.
type Verifier struct {
	secrets     atomic.Pointer[accepted]
	admin       atomic.Pointer[accepted] // what ADMIN keys are minted under; nil: under secrets
	revocations atomic.Pointer[Revocations]
	maxAge      atomic.Int64 // in nanoseconds; 0: no bound
}

// NewVerifier returns a Verifier that accepts keys minted under any of the
// secrets.
func NewVerifier(secrets ...Secret) *Verifier {
	v := new(Verifier)
	v.SetSecrets(secrets)
	return v
}

// SetSecrets makes the Verifier accept keys minted under any of the secrets,
// and no others, from the next Verify on.
func (v *Verifier) SetSecrets(secrets []Secret) { v.secrets.Store(newAccepted(secrets)) }

// SetAdminSecrets makes the Verifier accept ADMIN keys minted under any of these secrets,
// and no others, from the next Verify on. What is no ADMIN key is never accepted under
// them. Before the first call ADMIN keys are minted under the same secrets as all others.
func (v *Verifier) SetAdminSecrets(secrets []Secret) { v.admin.Store(newAccepted(secrets)) }

// SecretFingerprint is the [Fingerprint] of the secrets that the Verifier accepts, without
// those of SetAdminSecrets: replicas differ in these on purpose.
func (v *Verifier) SecretFingerprint() uint64 { return v.secrets.Load().fingerprint }

// accepted is what a Verifier accepts; it is replaced as a whole.
type accepted struct {
	roots       []root
	fingerprint uint64
}

func newAccepted(secrets []Secret) *accepted {
	a := &accepted{fingerprint: Fingerprint(secrets)}
	for _, s := range secrets {
		a.roots = append(a.roots, newRoot(s))
	}
	return a
}

// SetRevocations makes the Verifier refuse what the list revokes, and nothing
// that only an earlier list did, from the next Verify on. A nil list revokes
// nothing.
func (v *Verifier) SetRevocations(r *Revocations) { v.revocations.Store(r) }

// SetMaxAge makes the Verifier refuse keys that were minted longer ago than age as
// expired, and those whose UUID does not say when they were minted, from the next Verify
// on. 0 takes keys of any age. Narrower keys have the age of the key that they were made
// from: nobody can make one younger.
func (v *Verifier) SetMaxAge(age time.Duration) { v.maxAge.Store(int64(age)) }

// Expires returns the moment from which the Verifier refuses the key as expired: the
// earliest that its exp caveats name, or when it is older than SetMaxAge allows. If there
// is none, Expires returns the zero Time.
func (v *Verifier) Expires(k *Key) time.Time {
	expires := k.Limits.Expires()
	if age := time.Duration(v.maxAge.Load()); age > 0 {
		minted, _ := mintedAt(k.ID)
		if tooOld := minted.Add(age); expires.IsZero() || tooOld.Before(expires) {
			return tooOld
		}
	}
	return expires
}

// tooOld reports whether a key with that UUID in its head has had its time.
func (v *Verifier) tooOld(id uuid.UUID, now time.Time) bool {
	age := time.Duration(v.maxAge.Load())
	if age <= 0 {
		return false
	}
	minted, ok := mintedAt(id)
	return !ok || !now.Before(minted.Add(age))
}

// Verify returns what the key says, if it is genuine and holds at the time
// now. It checks in this order, and nothing in the key is decoded before its
// tag has been found good:
//
//   - If the text has not the shape of a key, it returns ErrMalformed.
//   - If no secret gives the key its tag, it returns ErrBadSignature. Once there are
//     secrets for ADMIN keys, these are tried for an ADMIN key, and for no other.
//   - If a caveat is unknown or does not parse, it returns ErrMalformed: a
//     condition that is not understood is not met.
//   - If an exp caveat is at or before now, or the key is older than SetMaxAge allows,
//     it returns ErrExpired.
//   - If the key's UUID, or that of one of its id caveats, is revoked, it returns
//     ErrRevoked.
//
// The other caveats are for the caller to enforce: they are in Key.Limits.
func (v *Verifier) Verify(text string, now time.Time) (Key, error) {
	p, ok := split(text)
	if !ok {
		return Key{}, ErrMalformed
	}
	if !v.signed(&p) {
		return Key{}, ErrBadSignature
	}
	list := v.revocations.Load()
	limits, bounds, ok := readLimits(&p, list)
	if !ok {
		return Key{}, ErrMalformed
	}
	if bounds.expires != never && !now.Before(time.Unix(bounds.expires, 0)) {
		return Key{}, ErrExpired
	}
	if v.tooOld(p.id, now) {
		return Key{}, ErrExpired
	}
	if bounds.revoked || list.Revoked(p.id) {
		return Key{}, ErrRevoked
	}
	return Key{ID: p.id, Admin: p.admin, Limits: limits}, nil
}

// signed reports whether one of the secrets gives the key its tag. It compares
// the tags in their encoded form: decoding first would let several spellings of
// one tag pass.
func (v *Verifier) signed(p *parts) bool {
	secrets := v.secrets.Load()
	if admin := v.admin.Load(); p.admin && admin != nil {
		secrets = admin
	}
	for _, root := range secrets.roots {
		tag := root.hmac(p.head)
		if p.caveats != "" {
			tag = p.chain(tag)
		}
		var encoded [tagLen]byte
		encoding.Encode(encoded[:], tag[:])
		if hmac.Equal(encoded[:], []byte(p.tag)) {
			return true
		}
	}
	return false
}
