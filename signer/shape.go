package signer

// HasShape reports whether the text has the form of a key: head, caveats and tag, and
// at most 2,048 bytes of them. It checks no tag, so anyone can write such a text. It
// tells keys from what other programs use as credentials, and allocates nothing.
func HasShape(text string) bool {
	_, ok := split(text)
	return ok
}
