// Package certs holds the TLS certificates of the public listener: from two files, or
// from an ACME authority such as Let's Encrypt.
//
// Both are a [Certificates]: they give a tls.Config, say when the first certificate
// ends, and can be reloaded while connections use them. A reload that fails leaves
// the certificate that was good in use and returns an error. TLS 1.2 is the oldest
// version served; HTTP/2 is offered to those who speak it.
//
// ACME certificates are ordered for listed names only; a handshake for another name
// fails without an order. Replicas do not share orders: with several replicas use
// files.
package certs
