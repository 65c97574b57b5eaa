package keycmd

import (
	"bufio"
	"fmt"

	"github.com/ollama-proxy/ollama-proxy/signer"
)

// maxCount is how many keys one mint makes at most.
const maxCount = 1_000_000

// MintOptions say which keys to make.
type MintOptions struct {
	SecretFile string // see signer.FindSecrets
	Admin      bool   // they reach the management routes
	Derive     string // make them for the holder of this derived secret; "": for all

	// AdminSecretFile has the secrets of ADMIN keys; "": they are made under the others.
	AdminSecretFile string

	Count   int // 1 to 1,000,000
	Caveats []signer.Caveat
	JSON    bool
}

// Mint prints new keys, one a line. If there is no secret, or the count is out of
// bounds, or the caveats make a key too long, it returns an error.
func Mint(s Streams, o MintOptions) error {
	if o.Count < 1 || o.Count > maxCount {
		return fmt.Errorf("--count: %d is not from 1 to %d", o.Count, maxCount)
	}
	secret, err := mintingSecret(o)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(s.Out)
	for range o.Count {
		key, err := signer.Mint(secret, o.Admin, o.Caveats...)
		if err != nil {
			return err
		}
		if err := printKey(out, o.JSON, key); err != nil {
			return err
		}
	}
	return out.Flush()
}
