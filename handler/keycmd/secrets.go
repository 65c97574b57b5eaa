package keycmd

import (
	"context"
	"errors"
	"fmt"

	"github.com/ollama-proxy/ollama-proxy/signer"
)

// signing is the secret that makes the keys of a mint.
type signing struct {
	secret signer.Secret
	found  signer.Found // where it was found, or what it was derived from
	apart  bool         // found is for ADMIN keys alone
}

// findSigning finds the secret that makes the keys: the first line, that of the file for
// ADMIN keys if there is one and these are asked for, or what is derived from it for a
// name.
func findSigning(ctx context.Context, o MintOptions) (s signing, err error) {
	s.apart = o.Admin && o.AdminSecretFile != ""
	switch {
	case !s.apart:
		s.found, err = o.findSecrets(ctx)
	case o.AdminSecretFile == signer.NoAdmin:
		err = errors.New("--admin-secret-file: none makes no ADMIN keys: name a file")
	default:
		s.found, err = signer.FindAdminSecrets(o.AdminSecretFile)
	}
	if err != nil {
		return s, err
	}
	s.secret = s.found.Secrets[0]
	if o.Derive != "" {
		s.secret, _, err = derive(s.found, o.Derive)
	}
	return s, err
}

// useAdminSecrets has a keyring take ADMIN keys under the secrets of a file only, see
// [signer.Keyring.UseAdminSecrets]. If no file is named, it changes nothing.
func useAdminSecrets(keys *signer.Keyring, file string) error {
	if file == "" {
		return nil
	}
	found, err := signer.FindAdminSecrets(file)
	if err != nil {
		return err
	}
	return keys.UseAdminSecrets(found)
}

// DeriveSecret prints the secret that follows from the first one of a file for a name, see
// [signer.Derive]. If there is no secret, or the name is none, it returns an error.
func DeriveSecret(s Streams, secretFile, name string) error {
	found, err := signer.FindSecrets(secretFile)
	if err != nil {
		return err
	}
	_, text, err := derive(found, name)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(s.Out, text)
	return err
}

func derive(found signer.Found, name string) (secret signer.Secret, text string, err error) {
	if secret, text, err = signer.Derive(found.Secrets[0], name); err != nil {
		err = fmt.Errorf("--derive: %q is %w", name, err)
	}
	return secret, text, err
}
