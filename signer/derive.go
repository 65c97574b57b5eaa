package signer

import "errors"

// maxDerivedName bounds the name of a derived secret: 64 bytes.
const maxDerivedName = 64

// derivedFor comes before the name in what is hashed. No key's head begins so, nor what
// [Fingerprint] hashes.
const derivedFor = "ollama-proxy secret for "

var errBadName = errors.New("not a name of 1 to 64 characters, of a-z, 0-9, dot, underscore and hyphen, that begins with a letter or digit")

// Derive returns the secret that follows from another for a site or a tenant of that
// name, and its text; the package's documentation has the construction. It is the same
// each time. Whoever has a derived secret can make keys for whoever accepts that one, and
// cannot find out the secret that it came from, nor that of another name. If the name is
// not 1 to 64 characters of a-z, 0-9, ".", "_" and "-", of which the first is a letter or
// digit, Derive returns an error.
func Derive(from Secret, name string) (derived Secret, text string, err error) {
	if !isDerivedName(name) {
		return Secret{}, "", errBadName
	}
	text = SecretPrefix + encoding.EncodeToString(link(from.text(), derivedFor+name))
	return newSecret(text), text, nil
}

func isDerivedName(name string) bool {
	if name == "" || len(name) > maxDerivedName {
		return false
	}
	for i := range len(name) {
		c := name[i]
		letter := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		if !letter && (i == 0 || c != '.' && c != '_' && c != '-') {
			return false
		}
	}
	return true
}
