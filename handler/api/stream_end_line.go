package api

import "bytes"

// line reads a whole line.
func (e *ending) line(b []byte) {
	if !e.word.Lines() {
		if len(b) == 0 {
			e.endBlock()
			return
		}
		if name, ok := bytes.CutPrefix(b, eventField); ok {
			e.name(name)
			return
		}
	}
	e.read(b)
	e.endLine()
}

var eventField = []byte("event:")

// read reads a part of a line.
func (e *ending) read(b []byte) {
	if len(b) == 0 {
		return
	}
	e.inLine = true
	if e.word.Lines() {
		e.object.read(b)
		return
	}
	for ; e.fieldN < uint8(len(e.field)) && len(b) > 0; b = b[1:] {
		e.field[e.fieldN] = b[0]
		e.fieldN++
	}
	switch string(e.field[:e.fieldN]) {
	case "data:":
		e.object.read(b)
	case "event":
	default:
		return // what this line says does not matter
	}
	if int(e.valueN) <= len(e.value) {
		n := copy(e.value[e.valueN:], b)
		e.valueN += uint8(n)
		if n < len(b) {
			e.valueN = uint8(len(e.value)) + 1
		}
	}
}

// endLine handles the end of a line that was read.
func (e *ending) endLine() {
	switch {
	case e.word.Lines():
		e.endEvent()
		e.object = object{word: e.word}
	case e.fieldN == 0:
		e.endBlock()
	default:
		value := e.value[:min(int(e.valueN), len(e.value))]
		switch string(e.field[:e.fieldN]) {
		case "data:":
			e.hasData = true
			e.endData(string(bytes.TrimSpace(value)) == "[DONE]")
		case "event":
			if name, ok := bytes.CutPrefix(value, eventField[5:]); ok {
				e.name(name)
			}
		}
	}
	e.inLine, e.fieldN, e.valueN = false, 0, 0
}

// endBlock handles the blank line that ends an event.
func (e *ending) endBlock() {
	if !e.object.isEmpty() {
		e.object = object{word: e.word}
	}
	e.event, e.hasData = unnamed, false
}

// name handles the name of an event, which may come after its data.
func (e *ending) name(name []byte) {
	if len(name) > 0 && name[0] == ' ' {
		name = name[1:]
	}
	e.event = e.word.kind(string(name))
	if e.hasData && e.event != ordinary {
		e.endEvent()
	}
}
