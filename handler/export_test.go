package handler

import "io"

// InMemory is a body that leaves in one write with the head, as those of most
// requests do.
func InMemory(text string) io.ReadCloser { return newMemory([]byte(text)) }
