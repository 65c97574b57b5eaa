package keycmd

import (
	"errors"
	"fmt"

	"github.com/ollama-proxy/ollama-proxy/signer"
)

// mintingSecret finds the secret that makes the keys: the first line, that of the file for
// ADMIN keys if there is one and these are asked for, or what is derived from it for a
// name.
func mintingSecret(o MintOptions) (secret signer.Secret, err error) {
	var found signer.Found
	if o.Admin && o.AdminSecretFile != "" {
		if o.AdminSecretFile == signer.NoAdmin {
			return secret, errors.New("--admin-secret-file: none makes no ADMIN keys: name a file")
		}
		found, err = signer.FindAdminSecrets(o.AdminSecretFile)
	} else {
		found, err = signer.FindSecrets(o.SecretFile)
	}
	if err != nil {
		return secret, err
	}
	if o.Derive == "" {
		return found.Secrets[0], nil
	}
	secret, _, err = derive(found, o.Derive)
	return secret, err
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
