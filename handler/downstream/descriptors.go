package downstream

// ConnectionBounds limits what a server does at once.
type ConnectionBounds struct {
	Connections int // of clients
	Requests    int // in flight; 0: no limit
	Upstream    int // connections to Ollama; 0: no limit
}

// BoundsFor returns the limits for a process that may open the given number of
// file descriptors. Connections and requests (0: no limit) are the operator's limits;
// they are lowered where there are too few descriptors for both sides. If the number of
// descriptors is 0, it is not known, and the operator's limits are returned unchanged.
func BoundsFor(descriptors, connections, requests int) ConnectionBounds {
	if descriptors == 0 {
		return ConnectionBounds{connections, requests, 0}
	}
	connections, upstream := splitDescriptors(descriptors, connections)
	if requests == 0 || requests > upstream {
		requests = upstream
	}
	return ConnectionBounds{connections, requests, upstream}
}

// splitDescriptors divides the file descriptors that the process may open between
// connections of clients, at most the wanted number, and connections of requests to
// Ollama. A quarter of them, at most 100, is left for other things.
func splitDescriptors(descriptors, wanted int) (connections, requests int) {
	spare := max(2, descriptors-min(descriptors/4, 100))
	connections = min(wanted, spare/2)
	return connections, spare - connections
}
