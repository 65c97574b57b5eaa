package models

import "bytes"

// maxPrefix bounds the beginning of a conversation: 64 KiB of messages, or the first 512
// bytes of a prompt.
const (
	maxPrefix = 64 << 10
	maxPrompt = 512
)

// ConversationPrefix returns the part of a body that all requests of its conversation begin with:
// the messages up to the first of the user, or the start of the prompt. It returns nil
// if there is none. It searches instead of parsing: if it is wrong, the prompt cache is
// missed at worst.
func ConversationPrefix(body []byte) []byte {
	for _, key := range [...]string{`"messages"`, `"input"`, `"prompt"`} {
		i := bytes.Index(body, []byte(key))
		if i < 0 {
			continue
		}
		rest := bytes.TrimLeft(body[i+len(key):], " \t\r\n:")
		switch {
		case len(rest) == 0:
		case rest[0] == '[':
			return firstTurn(rest[:min(len(rest), maxPrefix)])
		case rest[0] == '"':
			return rest[:min(len(rest), maxPrompt)]
		}
	}
	return nil
}

// firstTurn cuts a list of messages after the first one by the user.
func firstTurn(list []byte) []byte {
	depth, start, inString := 0, 0, false
	for i := 0; i < len(list); i++ {
		switch c := list[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '[' || c == '{':
			if depth++; depth == 2 {
				start = i
			}
		case c == ']' || c == '}':
			if depth--; depth == 1 && bytes.Contains(list[start:i], []byte(`"user"`)) {
				return list[:i]
			}
			if depth == 0 {
				return list[:i]
			}
		}
	}
	return list
}
