package keycmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/ollama-proxy/ollama-proxy/signer"
)

// InspectOptions say which key to look at, and what to check it against.
type InspectOptions struct {
	Key         string // or "-": it is on standard input
	SecretFile  string // see signer.FindSecrets
	AdminFile   string // see signer.FindAdminSecrets; "": ADMIN keys have no secrets of their own
	Revocations string // the list; "": the one beside the secret that serve makes, if it is there
	JSON        bool
}

// Inspect prints what a key says and, where there is a secret, whether it is valid. If
// the key would be refused, Inspect returns the reason once all is printed.
func Inspect(ctx context.Context, s Streams, o InspectOptions) error {
	key, err := s.readKey(o.Key)
	if err != nil {
		return err
	}
	found, err := signer.FindSecrets(o.SecretFile)
	if err != nil && !errors.Is(err, signer.ErrNoSecret) {
		return err
	}
	claims, err := signer.Inspect(key)
	if err != nil {
		return err
	}
	verdict, refused := "not checked: there is no secret at hand", error(nil)
	if len(found.Secrets) > 0 {
		keys, err := openKeyring(ctx, found, o.Revocations)
		if err != nil {
			return err
		}
		if err := useAdminSecrets(keys, o.AdminFile); err != nil {
			return err
		}
		verdict = "valid"
		if _, refused = keys.Verify(key, time.Now()); refused != nil {
			verdict = "refused: " + refused.Error()
		}
	}
	if o.JSON {
		report := claims.Report()
		report["verdict"] = verdict
		return errors.Join(json.NewEncoder(s.Out).Encode(report), refused)
	}
	for _, line := range append(claims.Words(), "verdict: "+verdict) {
		if _, err := fmt.Fprintln(s.Out, line); err != nil {
			return err
		}
	}
	return refused
}

// openKeyring opens the secrets and the list. A list that nobody named need not be
// there: serve may not have made it yet.
func openKeyring(ctx context.Context, found signer.Found, list string) (*signer.Keyring, error) {
	keys, err := signer.OpenKeyring(ctx, found, found.Revocations(list))
	if errors.Is(err, fs.ErrNotExist) && list == "" {
		return signer.OpenKeyring(ctx, found, "")
	}
	return keys, err
}
