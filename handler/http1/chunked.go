package http1

import (
	"errors"
	"io"
)

// Dechunker reads the framing of a chunked body, in pieces of any size.
type Dechunker struct {
	state dechunkerState
	left  int64 // of the chunk
	line  int   // digits of a size, or bytes of a line that are read over
}

type dechunkerState int

const (
	chunkSize dechunkerState = iota // expects its first digit
	chunkSizeMore
	chunkPadding
	chunkExtension
	chunkSizeEnd
	chunkData
	chunkDataCR
	chunkDataEnd
	chunkTrailer // expects a line of it, or the empty one
	chunkTrailerName
	chunkTrailerLine
	chunkTrailerLineEnd
	chunkLastEnd
	chunkOver
)

var errChunking = errors.New("malformed chunked encoding")

// maxChunkLine bounds what stands in a line beyond what is needed: 4 KiB, and as
// much in all trailers.
const maxChunkLine = 4 << 10

// maxSizeDigits bounds a size, zeros and all: 16 digits, as in net/http.
const maxSizeDigits = 16

// Decode moves what belongs to the body to the front of b. It returns how much
// that is, and how much of b it has read: all, unless there is an error. That is
// io.EOF at the end of the body.
func (c *Dechunker) Decode(b []byte) (n, used int, err error) {
	for used < len(b) {
		if c.state == chunkData {
			piece := b[used:min(int64(len(b)), int64(used)+c.left)]
			n += copy(b[n:], piece)
			used += len(piece)
			if c.left -= int64(len(piece)); c.left == 0 {
				c.state = chunkDataCR
			}
			continue
		}
		if !c.step(b[used]) {
			return n, used, errChunking
		}
		if used++; c.state == chunkOver {
			return n, used, io.EOF
		}
	}
	return n, used, nil
}

// step reads one byte of the framing, and reports whether it may stand there.
func (c *Dechunker) step(b byte) bool {
	expect := func(want byte, next dechunkerState) bool {
		c.state = next
		return b == want
	}
	switch c.state {
	case chunkSize, chunkSizeMore:
		digit := hexDigit(b)
		switch {
		case digit >= 0:
			c.left = c.left<<4 | int64(digit)
			c.state = chunkSizeMore
			c.line++
			return c.left < 1<<56 && c.line <= maxSizeDigits
		case c.state == chunkSize:
			return false
		}
		c.line = 0
		return c.afterSize(b)
	case chunkPadding:
		c.line++
		return b != ';' && c.afterSize(b) && c.line < maxChunkLine // net/http takes no extension here
	case chunkExtension:
		if b == '\r' {
			c.state = chunkSizeEnd
		}
		c.line++
		return b != '\n' && c.line < maxChunkLine
	case chunkSizeEnd:
		next := chunkData
		if c.left == 0 {
			next, c.line = chunkTrailer, 0
		}
		return expect('\n', next)
	case chunkDataCR:
		return expect('\r', chunkDataEnd)
	case chunkDataEnd:
		c.line = 0
		return expect('\n', chunkSize)
	case chunkTrailer:
		if b == '\r' {
			c.state = chunkLastEnd
			return true
		}
		c.state = chunkTrailerName
		return isTokenByte(b)
	case chunkTrailerName:
		if b == ':' {
			c.state = chunkTrailerLine
		}
		c.line++
		return (b == ':' || isTokenByte(b)) && c.line < maxChunkLine
	case chunkTrailerLine:
		if b == '\r' {
			c.state = chunkTrailerLineEnd
		}
		c.line++
		return b != '\n' && c.line < maxChunkLine
	case chunkTrailerLineEnd:
		return expect('\n', chunkTrailer)
	case chunkLastEnd:
		return expect('\n', chunkOver)
	}
	return false
}

// afterSize reads a byte that follows a size.
func (c *Dechunker) afterSize(b byte) bool {
	switch b {
	case '\r':
		c.state = chunkSizeEnd
	case ' ', '\t':
		c.state = chunkPadding
	case ';':
		c.state = chunkExtension
	default:
		return false
	}
	return true
}

func hexDigit(b byte) int {
	switch {
	case '0' <= b && b <= '9':
		return int(b - '0')
	case 'a' <= b && b <= 'f':
		return int(b-'a') + 10
	case 'A' <= b && b <= 'F':
		return int(b-'A') + 10
	}
	return -1
}
