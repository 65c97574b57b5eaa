// Package upstream balances requests over several Ollamas. It knows which of them are
// up, which models each has and has loaded, and sends each request where it is likely to
// be answered first.
//
// A [Pool] probes every Ollama for its models, and learns from each request. A request
// goes to an Ollama that is up and has the model: the one that served the conversation
// last, else one that has the model loaded, else the least utilized. A request in memory
// is retried elsewhere if its Ollama refuses the connection or is busy; if Ollama may
// have begun to work on it, once at most; if Ollama has begun to respond, never. Lists
// of models are merged; pull, copy and delete go to all Ollamas.
//
// All state is in memory and belongs to this process: replicas do not share it, and
// after a restart it is learned again. Choosing takes no lock and allocates nothing,
// except for a model that must be loaded.
//
// Bounds: 1,000 entries, 256 addresses for each DNS name, 1,000 models for each Ollama,
// and a common bound on connections (Pool.ConnLimit).
//
// The package decides nothing about keys, and does not read what it passes on, apart
// from the beginning of a conversation, lists, and the progress of a pull.
package upstream
