//go:build !unix

package transport

// idleWatch cannot look here.
type idleWatch struct{}

func (c *conn) watchIdle() {}

// isAlive says that no connection can be used twice: whether it has been closed,
// or holds what nobody has asked for, cannot be told here.
func (c *conn) isAlive() bool { return false }
