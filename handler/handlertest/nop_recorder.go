package handlertest

import "time"

// NopRecorder is a Recorder that does nothing.
type NopRecorder struct{}

func (NopRecorder) RequestStarted(route int) {}

func (NopRecorder) Refused(reason string) {}

func (NopRecorder) Forwarded(overhead time.Duration) {}

func (NopRecorder) Uploaded(route int, bytes int) {}

func (NopRecorder) FirstByte(route int, after time.Duration) {}

func (NopRecorder) StreamStarted(route int) {}

func (NopRecorder) KeySeen(id, narrowed [16]byte, label []byte) (key int) { return 0 }

func (NopRecorder) Passed(route, key, bytes int, gap time.Duration) {}

func (NopRecorder) StreamEnded(route int, outcome string) {}

func (NopRecorder) Answered(key int, model string, bytes, prompt, completion int64) {}

func (NopRecorder) UpstreamJoined(name string) (upstream int) { return 0 }

func (NopRecorder) UpstreamLeft(upstream int) {}

func (NopRecorder) UpstreamUp(upstream int, up bool) {}

func (NopRecorder) UpstreamFailed(upstream int, kind string) {}

func (NopRecorder) UpstreamEntered(upstream int, choice string) {}

func (NopRecorder) UpstreamDone(upstream int) {}

func (NopRecorder) UpstreamRetried(upstream int, reason string) {}

func (NopRecorder) Reloaded(source string, ok bool, at time.Time) {}

func (NopRecorder) RequestEnded(route int, method string, code int, took time.Duration) {}
