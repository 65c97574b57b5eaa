//go:build unix

package kit

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
)

var taken []string // what FreeAddress has returned

// FreeAddress returns a loopback address, host:port, on which nothing listens, and a
// different one in each call. The port is below those that the kernel gives to outgoing
// connections, so it stays free while its server is down. FreeAddress must not be called
// from several goroutines at once.
func FreeAddress() string {
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000))
		if slices.Contains(taken, address) {
			continue
		}
		if l, err := net.Listen("tcp", address); err == nil {
			l.Close()
			taken = append(taken, address)
			return address
		}
	}
	Fatal("there is no free port")
	return ""
}

// Fetch gets a URL within [Timeout] and returns the status and the body. If there is no
// complete answer, the status is 0: a server that is down is not a failure.
func Fetch(url string) (status int, body string) {
	res, err := (&http.Client{Timeout: Timeout}).Get(url)
	if err != nil {
		return 0, ""
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, ""
	}
	return res.StatusCode, string(text)
}

// Listen serves HTTP at an address until the program ends. The port may be 0; Listen returns
// the address with the actual port.
func Listen(address string, handler http.Handler) string {
	l, err := net.Listen("tcp", address)
	Must(err, "listening")
	go http.Serve(l, handler)
	return l.Addr().String()
}
