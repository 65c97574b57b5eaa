package keycmd

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/google/uuid"

	"github.com/ollama-proxy/ollama-proxy/signer"
)

// Streams are a command's standard input and outputs.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	Columns  int // of the terminal that shows them; 0: no bound
}

const (
	// maxLine bounds what is read of standard input where one key is expected: 64
	// KiB.
	maxLine = 1 << 16

	// maxInput bounds it where many are: 1 MiB.
	maxInput = 1 << 20
)

// readKey returns the key that an argument gives: the argument itself, or, if that is
// "-", the first line of standard input, where the list of processes does not show
// it.
func (s Streams) readKey(argument string) (string, error) {
	if argument != "-" {
		return argument, nil
	}
	line, err := bufio.NewReader(io.LimitReader(s.In, maxLine)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return strings.TrimSpace(line), nil
}

// target is what an argument names.
type target struct {
	id    uuid.UUID
	head  uuid.UUID // of the key that it was made from, if the id is one of its own
	label string    // that the key says, if the argument is one
	name  string    // if it is neither a key nor a UUID: a label, it seems
	place string    // how an error about it begins, which never quotes it: "" where it is the only one
}

// readTargets reads arguments, and for "-" the lines of standard input. A line may have
// several keys or UUIDs, with blanks between them.
func (s Streams) readTargets(arguments []string) (all []target, err error) {
	for i, word := range arguments {
		place := ""
		if len(arguments) > 1 {
			place = fmt.Sprintf("argument %d of %d: ", i+1, len(arguments))
		}
		switch {
		case word == "-":
			lines, err := s.readLines()
			if err != nil {
				return nil, err
			}
			all = append(all, lines...)
		case strings.TrimSpace(word) == "":
			return nil, fmt.Errorf("%san empty word names no key: is a variable not set?", place)
		case strings.HasPrefix(word, "-"):
			return nil, fmt.Errorf("%s comes too late: flags go before the keys", word)
		default:
			all = append(all, targetOf(word, place))
		}
	}
	for _, t := range all {
		if looksLikeKey(t.name) {
			_, err := signer.ParseID(t.name)
			return nil, fmt.Errorf("%s%w", t.place, err)
		}
	}
	return all, nil
}

// readLines reads standard input to its end. If there is nothing, it returns an error.
func (s Streams) readLines() (all []target, err error) {
	text, err := io.ReadAll(io.LimitReader(s.In, maxInput+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxInput {
		return nil, fmt.Errorf("standard input has more than %d bytes", maxInput)
	}
	for i, line := range strings.Split(string(text), "\n") {
		place := fmt.Sprintf("line %d of standard input: ", i+1)
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		var words []target
		named := false
		for _, word := range strings.Fields(line) {
			t := targetOf(word, place)
			named = named || t.name != "" && !looksLikeKey(word)
			words = append(words, t)
		}
		if named { // a label may have blanks
			words = []target{{name: line, place: place}}
		}
		all = append(all, words...)
	}
	if len(all) == 0 {
		return nil, errors.New("no KEY, UUID or LABEL on standard input")
	}
	return all, nil
}

func targetOf(word, place string) target {
	id, err := signer.ParseID(word)
	if err != nil {
		return target{name: word, place: place}
	}
	t := target{id: id, place: place}
	if claims, err := signer.Inspect(word); err == nil {
		t.label, t.head = claims.Limits.Label(), claims.ID
	} else if head, _, ok := strings.Cut(word, "~"); ok {
		t.head, _ = signer.ParseID(head)
	}
	if t.head == t.id {
		t.head = uuid.UUID{}
	}
	return t
}

// looksLikeKey tells what was meant for a key from a label.
func looksLikeKey(word string) bool { return strings.HasPrefix(word, "OLLAMA-") }

// printKey writes a key on a line of its own, or as JSON together with what it says.
func printKey(w io.Writer, asJSON bool, key string) error {
	if !asJSON {
		_, err := fmt.Fprintln(w, key)
		return err
	}
	claims, err := signer.Inspect(key)
	if err != nil {
		return err
	}
	report := claims.Report()
	report["key"] = key
	return json.NewEncoder(w).Encode(report)
}
