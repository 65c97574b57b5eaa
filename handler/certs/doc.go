// Package certs provides the TLS certificates of the public listener: from two files, or
// from an ACME authority such as Let's Encrypt.
//
// Both implement [Certificates]: they provide a tls.Config, report when the first
// certificate expires, and can be reloaded while connections use them. A reload that
// fails leaves the certificate in use as it is, and returns an error. Connections must
// use TLS 1.2 or newer; HTTP/2 is offered.
//
// Certificates are ordered from an ACME authority for configured names only, one order
// at a time for each; a handshake for another name fails without an order. A failed
// order is repeated after 2 minutes, and after up to an hour if it fails again and
// again. Replicas do not share orders: with several replicas use files.
//
// The package does not listen, and does not reload by itself: its caller does.
package certs
