package handler_test

import "time"

// deaf is a Recorder that hears nothing.
type deaf struct{}

func (deaf) RequestStarted(route int) {}

func (deaf) Refused(reason string) {}

func (deaf) Forwarded(overhead time.Duration) {}

func (deaf) Uploaded(route int, bytes int) {}

func (deaf) FirstByte(route int, after time.Duration) {}

func (deaf) StreamStarted(route int) {}

func (deaf) KeySeen(id [16]byte, label []byte) (key int) { return 0 }

func (deaf) Passed(route, key, bytes int, gap time.Duration) {}

func (deaf) StreamEnded(route int, outcome string) {}

func (deaf) Answered(key int, model string, bytes, prompt, completion int64) {}

func (deaf) UpstreamJoined(name string) (upstream int) { return 0 }

func (deaf) UpstreamLeft(upstream int) {}

func (deaf) UpstreamUp(upstream int, up bool) {}

func (deaf) UpstreamFailed(upstream int, kind string) {}

func (deaf) UpstreamEntered(upstream int, choice string) {}

func (deaf) UpstreamDone(upstream int) {}

func (deaf) UpstreamRetried(upstream int, reason string) {}

func (deaf) Reloaded(source string, ok bool, at time.Time) {}

func (deaf) RequestEnded(route int, method string, code int, took time.Duration) {}
