package handlertest

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"

	"golang.org/x/net/dns/dnsmessage"
)

// NameServer is a DNS server in the test's process, which gives the same answer for every
// name.
type NameServer struct {
	mu    sync.Mutex
	code  dnsmessage.RCode
	addrs []net.IP
	Slow  chan struct{} // if not nil, answers wait until it is closed
}

// Set sets the answer: a response code, and the addresses of the name.
func (n *NameServer) Set(code dnsmessage.RCode, addrs ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.code, n.addrs = code, nil
	for _, a := range addrs {
		n.addrs = append(n.addrs, net.ParseIP(a))
	}
}

// Resolver returns a resolver that asks the NameServer.
func (n *NameServer) Resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		go n.serve(far)
		return near, nil
	}}
}

// serve answers the questions on a connection.
func (n *NameServer) serve(c net.Conn) {
	defer c.Close()
	for {
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		question := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(c, question); err != nil {
			return
		}
		if n.Slow != nil {
			<-n.Slow
		}
		reply := n.reply(question)
		c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...))
	}
}

// reply returns the answer to a question, both in wire form.
func (n *NameServer) reply(question []byte) []byte {
	n.mu.Lock()
	defer n.mu.Unlock()
	var m dnsmessage.Message
	if err := m.Unpack(question); err != nil {
		panic(err)
	}
	m.Response, m.RecursionAvailable, m.RCode = true, true, n.code
	m.Additionals = nil
	for _, ip := range n.addrs {
		var body dnsmessage.ResourceBody
		switch v4 := ip.To4(); {
		case v4 != nil && m.Questions[0].Type == dnsmessage.TypeA:
			body = &dnsmessage.AResource{A: [4]byte(v4)}
		case v4 == nil && m.Questions[0].Type == dnsmessage.TypeAAAA:
			body = &dnsmessage.AAAAResource{AAAA: [16]byte(ip)}
		default:
			continue
		}
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET}, Body: body,
		})
	}
	packed, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return packed
}
