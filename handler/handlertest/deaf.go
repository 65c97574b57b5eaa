package handlertest

import "time"

// Deaf is a Recorder that hears nothing.
type Deaf struct{}

func (Deaf) RequestStarted(route int) {}

func (Deaf) Refused(reason string) {}

func (Deaf) Forwarded(overhead time.Duration) {}

func (Deaf) Uploaded(route int, bytes int) {}

func (Deaf) FirstByte(route int, after time.Duration) {}

func (Deaf) StreamStarted(route int) {}

func (Deaf) KeySeen(id, narrowed [16]byte, label []byte) (key int) { return 0 }

func (Deaf) Passed(route, key, bytes int, gap time.Duration) {}

func (Deaf) StreamEnded(route int, outcome string) {}

func (Deaf) Answered(key int, model string, bytes, prompt, completion int64) {}

func (Deaf) UpstreamJoined(name string) (upstream int) { return 0 }

func (Deaf) UpstreamLeft(upstream int) {}

func (Deaf) UpstreamUp(upstream int, up bool) {}

func (Deaf) UpstreamFailed(upstream int, kind string) {}

func (Deaf) UpstreamEntered(upstream int, choice string) {}

func (Deaf) UpstreamDone(upstream int) {}

func (Deaf) UpstreamRetried(upstream int, reason string) {}

func (Deaf) Reloaded(source string, ok bool, at time.Time) {}

func (Deaf) RequestEnded(route int, method string, code int, took time.Duration) {}
