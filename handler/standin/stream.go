package standin

import "net/http"

// stream sends an answer chunk by chunk.
type stream struct {
	x    *exchange
	sent int
}

// send sends each chunk as one HTTP chunk, and reports whether the client is still there. If last is set, the answer
// ends with these chunks.
func (s *stream) send(last bool, chunks ...[]byte) bool {
	for i, chunk := range chunks {
		if s.sent > 0 && s.x.o.step != nil && !s.x.wait(s.x.o.step) {
			return false
		}
		if s.sent == faultAfter && s.x.breaksOff() {
			if s.x.fault == "dies-mid-line" {
				s.x.write(chunk[:len(chunk)/2])
			}
			s.x.breakOff()
		}
		if last && i == len(chunks)-1 {
			s.x.seen.answerEnds()
		}
		if !s.x.write(chunk) {
			return false
		}
		s.sent++
	}
	return true
}

// write writes and flushes b, and reports whether the client is still there.
func (x *exchange) write(b []byte) bool {
	if _, err := x.w.Write(b); err != nil {
		return false
	}
	return http.NewResponseController(x.w).Flush() == nil && x.r.Context().Err() == nil
}
