package http1

import (
	"errors"
	"io"
)

// Dechunker removes the framing from a chunked body that arrives in pieces of any size.
// The zero value is ready to use. It is for one body and one goroutine.
type Dechunker struct {
	state dechunkerState
	left  int64 // bytes of the current chunk that are still to come
	line  int   // digits of the current size, or bytes of the current line that are skipped
}

// A dechunkerState names what the next byte belongs to.
type dechunkerState int

const (
	chunkSize dechunkerState = iota // the first digit of a size
	chunkSizeMore
	chunkPadding
	chunkExtension
	chunkSizeEnd
	chunkData
	chunkDataCR
	chunkDataEnd
	chunkTrailer // a line of the trailer, or the empty line after it
	chunkTrailerName
	chunkTrailerLine
	chunkTrailerLineEnd
	chunkLastEnd
	chunkOver
)

var errChunking = errors.New("malformed chunked encoding")

// maxChunkLine bounds the bytes that are skipped: 4 KiB of padding and extension after
// the size of one chunk, and 4 KiB in all trailers together.
const maxChunkLine = 4 << 10

// maxSizeDigits bounds the size of a chunk, leading zeros included: 16 digits, as in
// net/http.
const maxSizeDigits = 16

// Decode moves the bytes of b that belong to the body to the front of b. It returns
// their number n, and how many bytes of b it has read. At the end of the body the error
// is io.EOF, and what follows in b does not belong to the body. If the framing is
// malformed, Decode returns an error that is not io.EOF, and every further call is
// undefined. Otherwise it has read all of b, and more is to come.
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

// step reads one byte of the framing. It reports whether that byte is allowed there.
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
		return b != ';' && c.afterSize(b) && c.line < maxChunkLine // net/http allows no extension after padding
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

// afterSize reads a byte that follows a size, or the padding after it.
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

// hexDigit returns the value of a hexadecimal digit, or -1.
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
