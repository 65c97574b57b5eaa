// Package models parses which models a request names, and lists of models, exactly as
// Ollama parses them.
//
// Ollama reads JSON with Go's encoding/json: keys in any letter case, the last of equal
// keys wins, null changes nothing, whatever follows the first value is ignored. A
// [Scanner] finds the names in a body as it passes, in pieces of any size, without
// keeping the body. Forms and zstd-compressed bodies are read as Ollama reads them, too.
//
// The package never errs on the side of "no model": what cannot be read is reported as
// unreadable, and what is too long as too long, so that the caller can refuse it.
//
// Bounds: a name has at most 4 KiB; a compressed body 20 MiB once decoded, with a window
// of at most 8 MiB; a list of models 16 MiB. At most four bodies are decoded at once.
// Long work pauses for as long as it has worked, see [Pacer], so that it uses at most
// half of a processor.
//
// The package decides nothing: whether a key allows a model is for signer and the
// caller, and which models exist is for package upstream.
package models
