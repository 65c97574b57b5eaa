// Package endpoint parses the address of an Ollama: a URL, or the variable OLLAMA_HOST as
// Ollama itself reads it.
//
// Both give a URL that has a scheme, http or https, a host and a port, and nothing else.
// Whatever else there is to an address, such as a path or a password, is an error, which
// does not quote it. Nothing is resolved or dialled here.
package endpoint
