package standin

import (
	"net/http/httptest"
	"testing"
)

func TestBodiesAreForgottenBySize(t *testing.T) {
	t.Parallel()
	var l requestLog
	body := make([]byte, keepBody)
	pending := l.arrive(httptest.NewRequest("POST", "/", nil))
	for range 70 {
		s := l.arrive(httptest.NewRequest("POST", "/", nil))
		s.Body = body
		l.publish(s)
	}
	if n := len(l.all()); n != keepBodies/keepBody || l.bodies != keepBodies {
		t.Errorf("%d remembered, %d bytes", n, l.bodies)
	}
	// One that was forgotten before its body had come must not weigh on the rest.
	pending.Body = body
	l.publish(pending)
	if n := len(l.all()); n != keepBodies/keepBody || l.bodies != keepBodies {
		t.Errorf("then %d remembered, %d bytes", n, l.bodies)
	}
}
