package downstream

// ConnectionBounds says how many there may be at once. Of requests and of connections to
// Ollama 0 means that there is no bound.
type ConnectionBounds struct{ Connections, Requests, Upstream int }

// BoundsFor returns the bounds of a process that may open so many descriptors
// (0: not known) and was told to let in so many connections and, unless that is
// 0, requests. Where the number of descriptors is not known, what was told is
// all that bounds.
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

// splitDescriptors shares out the descriptors that the process may have open between clients'
// connections, of which there need be no more than wanted, and requests'
// connections to Ollama. Some are left for other things.
func splitDescriptors(descriptors, wanted int) (connections, requests int) {
	spare := max(2, descriptors-min(descriptors/4, 100))
	connections = min(wanted, spare/2)
	return connections, spare - connections
}
