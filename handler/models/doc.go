// Package models reads which models a request names, and lists of models, exactly as
// Ollama reads them.
//
// Ollama reads JSON with Go's encoding/json: keys in any letter case, the last of
// several wins, null changes nothing, whatever follows the first value is ignored. A
// [Scanner] finds the names in a body as it passes, in pieces of any size, without
// keeping it. Forms and zstd-compressed bodies are read as Ollama reads them, too.
//
// The package never errs on the side of "no model": what cannot be read is reported
// as unreadable, and what is too long as too long, so that the caller refuses it.
//
// Bounds: a name has at most 4 KiB, a compressed body 20 MiB once decoded with a
// window of 8 MiB, a list of models 16 MiB. Reading that takes long pauses for as long
// as it has worked, so that it never takes more than half of a processor.
package models
