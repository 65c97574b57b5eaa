package keycmd

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"

	"github.com/ollama-proxy/ollama-proxy/handler/keyinfo"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// RemoteOptions say which key to ask about, and where.
type RemoteOptions struct {
	Key    string   // or "-": it is on standard input
	Remote *url.URL // of an ollama-proxy
	JSON   bool
}

// InspectRemote asks a proxy what a key may do there, and prints it in words. If the proxy
// refuses the key or cannot be asked, or the text is no key, it returns an error.
func InspectRemote(ctx context.Context, s Streams, o RemoteOptions) error {
	key, err := s.readKey(o.Key)
	if err != nil {
		return err
	}
	if _, err := signer.Inspect(key); err != nil {
		return err // what is no key goes nowhere
	}
	info, err := keyinfo.Ask(ctx, o.Remote, key)
	if err != nil {
		return err
	}
	if o.JSON {
		return json.NewEncoder(s.Out).Encode(info)
	}
	for _, line := range info.Words() {
		if _, err := fmt.Fprintln(s.Out, line); err != nil {
			return err
		}
	}
	return nil
}
