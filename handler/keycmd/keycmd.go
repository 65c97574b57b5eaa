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

// readIDs returns the UUIDs of the keys that the arguments give, or, if there is "-"
// alone, the words on standard input.
func (s Streams) readIDs(arguments []string) (ids []uuid.UUID, err error) {
	if len(arguments) == 1 && arguments[0] == "-" {
		text, err := io.ReadAll(io.LimitReader(s.In, maxInput))
		if err != nil {
			return nil, err
		}
		if arguments = strings.Fields(string(text)); len(arguments) == 0 {
			return nil, errors.New("no KEY or UUID on standard input")
		}
	}
	for i, word := range arguments {
		if strings.HasPrefix(word, "-") {
			return nil, fmt.Errorf("%s comes too late: flags go before the keys", word)
		}
		id, err := signer.ParseID(word)
		if err != nil {
			return nil, fmt.Errorf("key %d of %d: %w", i+1, len(arguments), err)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

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
