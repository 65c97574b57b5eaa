// Package upstream chooses among several Ollamas: it knows which are healthy, which
// models each has and has loaded, and sends each request where it is answered soonest.
//
// A [Pool] asks every Ollama for its models now and then and learns from each request.
// A request goes to a healthy Ollama that has the model: the one that served the
// conversation last, else one that has the model loaded, else the least busy. A
// request in memory that was refused, or found its Ollama busy, is tried elsewhere; one
// that may have begun to run is tried once more at most; one whose answer has begun,
// never. Lists of models are merged; pull, copy and delete go to all.
//
// All state is soft and this process's own: replicas do not talk, and what one forgets
// it learns again. Choosing takes no lock and allocates nothing.
//
// Bounds: 1,000 Ollamas, 256 addresses for each DNS name, 1,000 models for each
// Ollama, one bound for all connections together.
package upstream
