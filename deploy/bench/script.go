//go:build linux

package main

import (
	"bytes"
	"fmt"
	"strings"
)

// The script is what clients ask and the stand-in answers, to the byte. Every
// request has a number of its own, and every byte of its answer follows from
// it: an answer that is another's, or lacks a piece, is found out. Both sides
// look the bytes up in tables, so that saying and checking them costs little.

// What a request asks for stands in it as the model's name.
const (
	askSmall = "small" // an answer of a few hundred bytes
	askLarge = "large" // the same, to a question of a megabyte
	askFull  = "full"  // a stream as fast as it goes
	askPaced = "paced" // a stream whose events come when a feed sends them
)

const (
	digits = 8 // that a request's number is written with

	eventCount = 4093 // different events; a prime, so that no buffer's size divides it
	fullEvents = 20_000

	largeBody  = 1_000_000 // bytes of a question to askLarge
	largeShift = 4093      // paddings of such questions begin at so many different places
)

var (
	events   []byte // all events, twice, so that a stream may begin with any
	wire     []byte // the same as HTTP chunks, one an event
	eventLen int
	chunkLen int

	ending     = []byte("data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":250,\"total_tokens\":261}}\n\ndata: [DONE]\n\n")
	wireEnding = fmt.Appendf(nil, "%x\r\n%s\r\n0\r\n\r\n", len(ending), ending)

	padding = make([]byte, largeBody+largeShift)
)

func init() {
	for i := range 2 * eventCount {
		event := fmt.Sprintf("data: {\"id\":\"chatcmpl-%0*d\",\"object\":\"chat.completion.chunk\",\"created\":1764100000,\"model\":\"llama3.2\",\"system_fingerprint\":\"fp_ollama\","+
			"\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\" %04d\"},\"finish_reason\":null}]}\n\n", digits, i%eventCount, i%eventCount)
		eventLen = len(event)
		events = append(events, event...)
		wire = fmt.Appendf(wire, "%x\r\n%s\r\n", len(event), event)
	}
	chunkLen = len(wire) / (2 * eventCount)

	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for i, x := 0, uint32(1); i < len(padding); i++ {
		x = x*1664525 + 1013904223 // a sequence that does not repeat within the padding
		padding[i] = letters[x>>26]
	}
}

// firstEvent is the event that the stream of a request begins with.
func firstEvent(number int) int { return number * 131 % eventCount }

// matchEvents reports whether piece is what stands at pos in the stream of a
// request, before its ending.
func matchEvents(number int, pos int64, piece []byte) bool {
	cycle := eventCount * eventLen
	at := (firstEvent(number)*eventLen + int(pos%int64(cycle))) % cycle
	for len(piece) > 0 {
		n := min(len(piece), len(events)-at)
		if !bytes.Equal(piece[:n], events[at:at+n]) {
			return false
		}
		piece, at = piece[n:], (at+n)%cycle
	}
	return true
}

// streamLen is the length of a stream of so many events.
func streamLen(events int64) int64 { return events*int64(eventLen) + int64(len(ending)) }

// checkStream makes sure that piece is what stands at pos in the stream of a
// request that has so many events.
func checkStream(number int, pos, events int64, piece []byte) error {
	body := events * int64(eventLen)
	if n := min(int64(len(piece)), max(0, body-pos)); n > 0 {
		if !matchEvents(number, pos, piece[:n]) {
			return fmt.Errorf("a stream came through changed, somewhere after byte %d", pos)
		}
		piece, pos = piece[n:], pos+n
	}
	if at := pos - body; len(piece) > 0 && !bytes.HasPrefix(ending[min(at, int64(len(ending))):], piece) {
		return fmt.Errorf("the ending of a stream came through changed")
	}
	return nil
}

// message is text with a request's number in some places of it.
type message struct {
	text   []byte
	places []int
}

func newMessage(text string) message {
	m := message{text: []byte(text)}
	for at := 0; ; {
		i := strings.Index(text[at:], strings.Repeat("#", digits))
		if i < 0 {
			return m
		}
		m.places = append(m.places, at+i)
		at += i + digits
	}
}

// clone is a copy to put numbers in.
func (m message) clone() message { return message{bytes.Clone(m.text), m.places} }

// about is the message of the request with that number. It is overwritten by
// the next call.
func (m message) about(number int) []byte {
	for _, at := range m.places {
		for i, n := digits-1, number; i >= 0; i, n = i-1, n/10 {
			m.text[at+i] = byte('0' + n%10)
		}
	}
	return m.text
}

var answer = newMessage(`{"id":"chatcmpl-########","object":"chat.completion","created":1764100000,"model":"llama3.2","system_fingerprint":"fp_ollama",` +
	`"choices":[{"index":0,"message":{"role":"assistant","content":"The answer to question ######## is that blue light is scattered more than red."},"finish_reason":"stop"}],` +
	`"usage":{"prompt_tokens":11,"completion_tokens":17,"total_tokens":28}}`)

// question is the body of a request, in three parts: of askLarge's alone the
// middle one is not empty.
func question(ask string, stream bool) (begin message, middle int, end []byte) {
	begin = newMessage(fmt.Sprintf(`{"model":%q,"user":"########","stream":%t,"messages":[{"role":"user","content":"`, ask, stream))
	end = []byte(`Why is the sky blue, and not violet?"}]}`)
	if ask == askLarge {
		middle = largeBody - len(begin.text) - len(end)
	}
	return begin, middle, end
}

// paddingOf is the middle of a request's question.
func paddingOf(number, length int) []byte {
	shift := number * 131 % largeShift
	return padding[shift : shift+length]
}
