package keycmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/ollama-proxy/ollama-proxy/signer"
)

// InspectOptions say which key to look at, and what to check it against.
type InspectOptions struct {
	Places
	Key  string // or "-": it is on standard input
	JSON bool
}

// Inspect prints what a key says and, where there is a secret, whether it is valid. If
// the key would be refused, Inspect returns the reason once all is printed. If the proxy
// of this machine has other secrets or another list, it says so: that proxy decides.
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
		used, err := o.findList(ctx, found)
		if err != nil {
			return err
		}
		s.sayWhich(found, o.Revocations == "" && used.location != "", false)
		verifier, err := signer.OpenKeyring(ctx, found, "")
		if err != nil {
			return err
		}
		if err := useAdminSecrets(verifier, o.AdminSecretFile); err != nil {
			return err
		}
		verifier.SetRevocations(used.Revocations)
		verdict = "valid"
		if _, refused = verifier.Verify(key, time.Now()); refused != nil {
			verdict = "refused: " + refused.Error()
		}
		defer func() { s.say(o.differs(ctx, found, used)) }()
	}
	idle := claims.Idle(time.Now())
	if o.JSON {
		report := claims.Report()
		report["verdict"] = verdict
		if idle != "" {
			report["idle"] = idle
		}
		return errors.Join(json.NewEncoder(s.Out).Encode(report), refused)
	}
	words := append(claims.Words(), "verdict: "+verdict)
	if idle != "" && refused == nil {
		words = append(words, "it can do nothing: "+idle)
	}
	for _, line := range words {
		if _, err := fmt.Fprintln(s.Out, line); err != nil {
			return err
		}
	}
	return refused
}
