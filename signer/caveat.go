package signer

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Caveat is one condition under which a key holds, such as exp=1767225600.
//
//	name     value                     holds when
//	exp      unix seconds              now < exp
//	models   glob,…                    the request's model matches one
//	routes   class,…                   the route's class is listed
//	from     CIDR or address,…         the client's address is inside
//	streams  n                         at most n requests in flight per replica
//	rpm      n                         at most n requests a minute per replica
//	label    text                      always: it names the key, the first one wins
//	id       UUID of version 7         unless that id is revoked: so one narrowed key ends alone
type Caveat struct{ Name, Value string }

const (
	// MaxLabel bounds what a key can add to each log line: 128 bytes.
	MaxLabel = 128

	// maxCount bounds streams and rpm; more is as good as no limit.
	maxCount = 1_000_000_000

	// maxExpiry is the last second of year 9999, the last that RFC 3339 can
	// name.
	maxExpiry = 253402300799

	// never is later than each exp.
	never = maxExpiry + 1
)

// NewCaveat returns the caveat name=value. If no caveat has that name, or the
// value does not parse, the error says what would.
func NewCaveat(name, value string) (Caveat, error) {
	c := Caveat{name, value}
	kind, ok := kindOf([]byte(name))
	if !ok {
		return c, errUnknownCaveat
	}
	if err := kind.check([]byte(value)); err != nil {
		return c, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// ParseCaveat reads a caveat as people write it: what NewCaveat takes, and for exp also
// "expires-in", a duration from now such as 720h or 30d, and "expires-at", a moment as
// [ParseMoment] takes it.
func ParseCaveat(name, value string, now time.Time) (Caveat, error) {
	var moment time.Time
	switch name {
	case "expires-in":
		d, err := parsePeriod(value)
		if err != nil {
			return Caveat{}, err
		}
		moment = now.Add(d)
	case "expires-at":
		var err error
		if moment, err = ParseMoment(value); err != nil {
			return Caveat{}, err
		}
	default:
		return NewCaveat(name, value)
	}
	return NewCaveat("exp", strconv.FormatInt(moment.Unix(), 10))
}

// NewID returns a caveat id with a new UUID of version 7. Put on a key when it is
// narrowed, it lets the narrower key, and all made from it, be revoked without the key
// that it came from.
func NewID() (Caveat, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return Caveat{}, fmt.Errorf("making a UUID: %w", err)
	}
	return Caveat{"id", id.String()}, nil
}

// encode gives the caveat as it stands in a key.
func (c Caveat) encode() string { return encoding.EncodeToString([]byte(c.Name + "=" + c.Value)) }

// kind is a caveat's name as a number.
type kind uint8

const (
	kindExp kind = iota
	kindModels
	kindRoutes
	kindFrom
	kindStreams
	kindRPM
	kindLabel
	kindID
)

// kindNames are the names of the kinds, in their order.
var kindNames = [...]string{"exp", "models", "routes", "from", "streams", "rpm", "label", "id"}

func kindOf(name []byte) (kind, bool) {
	switch string(name) { // quicker than a search
	case "exp":
		return kindExp, true
	case "models":
		return kindModels, true
	case "routes":
		return kindRoutes, true
	case "from":
		return kindFrom, true
	case "streams":
		return kindStreams, true
	case "rpm":
		return kindRPM, true
	case "label":
		return kindLabel, true
	case "id":
		return kindID, true
	}
	return 0, false
}

// kinds is a set of them, a bit for each.
type kinds uint16

func (s kinds) has(k kind) bool { return s&(1<<k) != 0 }

var (
	errBadExpiry  = fmt.Errorf("not a whole number from 1 to %d of seconds since 1970", int64(maxExpiry))
	errBadStreams = fmt.Errorf("not a whole number from 1 to %d, such as 2", maxCount)
	errBadRPM     = fmt.Errorf("not a whole number from 1 to %d, such as 60", maxCount)
	errBadLabel   = fmt.Errorf("not 1 to %d bytes of printable text", MaxLabel)
	errBadID      = errors.New("not a UUID of version 7 in 36 lower-case characters")
	errBadClass   = errors.New("not among chat, embed, models and admin")
	errBadGlob    = errors.New("not model names such as llama3.2,qwen3:*")

	errUnknownCaveat = errors.New("no such caveat: there are exp, models, routes, from, streams, rpm, label and id")
)

var comma = []byte{','}

// check says why no caveat of the kind can have the value, or returns nil if one
// can. It allocates nothing, whatever a key's holder has written.
func (k kind) check(value []byte) error {
	switch k {
	case kindExp:
		return unless(parseNumber(value, maxExpiry) > 0, errBadExpiry)
	case kindStreams:
		return unless(parseNumber(value, maxCount) > 0, errBadStreams)
	case kindRPM:
		return unless(parseNumber(value, maxCount) > 0, errBadRPM)
	case kindLabel:
		return unless(isLabel(value), errBadLabel)
	case kindID:
		_, ok := parseID(value)
		return unless(ok, errBadID)
	}
	for more := true; more; {
		var item []byte
		item, value, more = bytes.Cut(value, comma)
		if err := k.checkItem(item); err != nil {
			return err
		}
	}
	return nil
}

// checkItem does so for one item of a list.
func (k kind) checkItem(item []byte) error {
	switch k {
	case kindModels:
		return unless(isGlob(item), errBadGlob)
	case kindRoutes:
		return unless(isClass(item), errBadClass)
	case kindFrom:
		_, err := parseNetwork(item)
		return err
	}
	return errUnknownCaveat
}

func unless(good bool, err error) error {
	if good {
		return nil
	}
	return err
}

// parseNumber reads a count of 1 to limit in its one spelling, without sign or
// leading zeros. It gives 0 for anything else.
func parseNumber(s []byte, limit int64) (n int64) {
	if len(s) == 0 || s[0] == '0' {
		return 0
	}
	for _, c := range s {
		if c < '0' || c > '9' {
			return 0
		}
		if n = n*10 + int64(c-'0'); n > limit {
			return 0
		}
	}
	return n
}

func isLabel(s []byte) bool {
	if len(s) == 0 || len(s) > MaxLabel {
		return false
	}
	for i, c := range s {
		if c >= utf8.RuneSelf { // 0x80 itself begins no character, and is refused either way
			return utf8.Valid(s) && !bytes.ContainsFunc(s[i:], unfitForLabel)
		}
		if unfitForLabel(rune(c)) {
			return false
		}
	}
	return true
}

// unfitForLabel keeps out what could forge a log line or hide in one: control
// characters, line separators, bidirectional marks.
func unfitForLabel(r rune) bool { return !unicode.IsPrint(r) }

// parseID reads the UUID of an id caveat.
func parseID(value []byte) (uuid.UUID, bool) {
	id, ok := parseUUID(value)
	if !ok {
		return uuid.UUID{}, false
	}
	_, ok = mintedAt(id)
	return id, ok
}

func isClass(s []byte) bool {
	switch Class(s) {
	case Chat, Embed, Models, Admin:
		return true
	}
	return false
}
