package e2e_test

import (
	"slices"
	"strconv"
	"strings"
)

// lawful counts the requests that RFC 9112 lets a server read from what a client
// sent, where it leaves a choice at its most lenient: all of them, and those
// with one of the keys. After a request that it cannot read, or one after which
// the connection must end, there is none.
func lawful(raw string, keys ...string) (all, keyed int) {
	for {
		raw = strings.TrimLeft(raw, "\r\n") // section 2.2: empty lines before a request
		r, rest, ok := lawfulRequest(raw, keys)
		if !ok {
			return all, keyed
		}
		all++
		if r.keyed {
			keyed++
		}
		if r.last {
			return all, keyed
		}
		raw = rest
	}
}

type lawfulHead struct {
	keyed bool
	last  bool // nothing after it is a request
}

// lawfulRequest reads one request. ok is false if there is none.
func lawfulRequest(raw string, keys []string) (r lawfulHead, rest string, ok bool) {
	line, rest, ok := cutLine(raw)
	words := strings.FieldsFunc(line, isSeparator)
	if len(words) == 2 && words[0] == "CONNECT" && line[len("CONNECT"):] == "  "+words[1] {
		words = []string{words[0], "", words[1]} // net/http lets CONNECT name nothing; nor does it ask for a Host, see below
	}
	if ok && line == "PRI * HTTP/2.0" {
		// No request, but net/http passes the beginning of HTTP/2 to the handler
		// like one, and ends the connection after it.
		return lawfulHead{last: true}, "", true
	}
	if !ok || len(words) != 3 || !isToken(words[0]) || len(words[2]) != len("HTTP/1.1") || !strings.HasPrefix(words[2], "HTTP/1.") {
		return r, "", false
	}
	old := words[2] == "HTTP/1.0"
	fields, rest, ok := lawfulFields(rest)
	if !ok {
		return r, "", false
	}
	var lengths, codings, options []string
	hosts := 0
	for _, f := range fields {
		switch strings.ToLower(f.name) {
		case "host":
			hosts++
		case "content-length":
			lengths = append(lengths, strings.Split(f.value, ",")...)
		case "transfer-encoding":
			codings = append(codings, f.value)
		case "connection":
			for option := range strings.SplitSeq(f.value, ",") {
				options = append(options, strings.ToLower(trimSpace(option)))
			}
		}
		for _, key := range keys {
			r.keyed = r.keyed || strings.Contains(f.value, key)
		}
	}
	// Section 3.2; only that net/http asks CONNECT for no Host.
	if hosts > 1 || hosts == 0 && !old && words[0] != "CONNECT" {
		return r, "", false
	}
	// Section 9.3: a gateway does well not to hold connections for HTTP/1.0.
	r.last = old || slices.Contains(options, "close")

	switch {
	case len(codings) > 0 && old:
		// Section 6.1: HTTP/1.0 has none, so nobody knows where the body ends.
		return r, "", true
	case len(codings) > 0:
		// Section 6.1: after both framings the connection must end. Section 6.3:
		// so it must if the last coding is not chunked.
		r.last = r.last || len(lengths) > 0
		list := strings.Split(strings.ToLower(strings.Join(codings, ",")), ",")
		if trimSpace(list[len(list)-1]) != "chunked" {
			return r, "", false
		}
		rest, ok = lawfulChunks(rest)
	case len(lengths) > 0:
		// Section 6.3: a list may be read if its members are all the same.
		first := trimSpace(lengths[0])
		for _, other := range lengths {
			if trimSpace(other) != first {
				return r, "", false
			}
		}
		n, err := strconv.ParseUint(first, 10, 63)
		if err != nil || strings.Trim(first, "0123456789") != "" {
			return r, "", false
		}
		if ok = uint64(len(rest)) >= n; ok {
			rest = rest[n:]
		}
	}
	// A request whose body breaks off, or is broken, may have been taken as one;
	// what would come after it is not.
	r.last = r.last || !ok
	return r, rest, true
}

type field struct{ name, value string }

// lawfulFields reads a header or a trailer, with the empty line at its end.
func lawfulFields(raw string) (fields []field, rest string, ok bool) {
	for {
		line, after, ok := cutLine(raw)
		if !ok || strings.ContainsAny(line, "\x00\r") {
			return nil, "", false
		}
		raw = after
		if line == "" {
			return fields, raw, true
		}
		if line[0] == ' ' || line[0] == '\t' {
			if len(fields) == 0 {
				return nil, "", false
			}
			// Section 5.2: a folded line may be read as one.
			last := &fields[len(fields)-1]
			last.value = trimSpace(last.value + " " + trimSpace(line))
			continue
		}
		name, value, found := strings.Cut(line, ":")
		if !found || !isToken(name) {
			return nil, "", false
		}
		fields = append(fields, field{name, trimSpace(value)})
	}
}

// lawfulChunks reads a chunked body to its end.
func lawfulChunks(raw string) (rest string, ok bool) {
	for {
		line, after, ok := strings.Cut(raw, "\r\n")
		size, _, _ := strings.Cut(line, ";")
		n, err := strconv.ParseUint(trimSpace(size), 16, 63)
		if !ok || err != nil || strings.ContainsAny(line, "\r\n+_") {
			return "", false
		}
		if n == 0 {
			_, rest, ok = lawfulFields(after)
			return rest, ok
		}
		if uint64(len(after)) < n || !strings.HasPrefix(after[n:], "\r\n") {
			return "", false
		}
		raw = after[n+2:]
	}
}

// cutLine reads a line to its LF; section 2.2 lets the CR before it be missing.
func cutLine(raw string) (line, rest string, ok bool) {
	line, rest, ok = strings.Cut(raw, "\n")
	return strings.TrimSuffix(line, "\r"), rest, ok
}

// isSeparator reports whether a character may separate the words of a request
// line: section 3 has these, and none beyond ASCII.
func isSeparator(r rune) bool { return strings.ContainsRune(" \t\v\f\r", r) }

func trimSpace(s string) string { return strings.Trim(s, " \t") }
