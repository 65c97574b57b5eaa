// Package metrics counts what the proxy does, as Prometheus collectors: one collector
// for each fact, one method for each event.
//
// [New] registers all collectors in a registry of their own, which [Metrics.Handler]
// serves. [Metrics.Totals] returns the same counts for those who have no Prometheus. The
// methods are safe for concurrent use, and never fail; those that are called for each
// chunk allocate nothing and look nothing up in a vector.
//
// Bounds: no value that a client may choose freely becomes a label. At most 1,000 models
// and, if keys are counted, 1,000 keys have series of their own; all others share a
// series with the label "other". Counts are lost when the process ends.
//
// The package does not listen, and decides nothing.
package metrics
