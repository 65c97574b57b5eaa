package signer

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
)

// Mint makes a new key under the secret, narrowed by the caveats in their
// order. Its UUID is of version 7, so it carries the time it was made; it also says
// whether rpm and streams are among the caveats. If
// admin is set the key reaches the management routes. If a caveat does not
// parse, or the key would be longer than 2,048 bytes or have more than 16
// caveats, Mint fails.
func Mint(secret Secret, admin bool, caveats ...Caveat) (string, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return "", fmt.Errorf("making a UUID: %w", err)
	}
	markLimits(&id, caveats)
	head := userPrefix + id.String()
	if admin {
		head = adminPrefix + id.String()
	}
	return chain(head, link(secret.text(), head), caveats)
}

// Restrict makes a narrower key of a key, without any secret: it adds the
// caveats at the end. It cannot tell whether the key it is given is genuine;
// of a forged key it makes another forged key. If the text has not the shape
// of a key, Restrict returns [ErrMalformed]; it fails where [Mint] would.
func Restrict(text string, caveats ...Caveat) (string, error) {
	p, ok := split(text)
	if !ok {
		return "", ErrMalformed
	}
	tag, err := encoding.DecodeString(p.tag)
	if err != nil {
		return "", ErrMalformed
	}
	if len(caveats) == 0 {
		return "", errors.New("no caveat given: the key would be the same")
	}
	return chain(p.head+p.caveats, tag, caveats)
}

// chain goes on from text, whose HMAC is tag, with the caveats.
func chain(text string, tag []byte, caveats []Caveat) (string, error) {
	for _, c := range caveats {
		if _, err := NewCaveat(c.Name, c.Value); err != nil {
			return "", err
		}
		encoded := c.encode()
		text += "~" + encoded
		tag = link(tag, encoded)
	}
	if n := strings.Count(text, "~"); n > maxCaveats {
		return "", fmt.Errorf("the key would have %d caveats, %d are the most", n, maxCaveats)
	}
	text += "." + encoding.EncodeToString(tag)
	if len(text) > maxKeyLen {
		return "", fmt.Errorf("the key would have %d bytes, %d are the most", len(text), maxKeyLen)
	}
	return text, nil
}

// link is one step of the chain.
func link(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}
