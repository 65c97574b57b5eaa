package handler

import (
	"testing"
	"unsafe"
)

// TestExchangeFitsItsSizeClass: an exchange is allocated in the size class of 1,152 bytes.
// If it grew beyond, each request would take 128 bytes more.
func TestExchangeFitsItsSizeClass(t *testing.T) {
	const class = 1152
	if size := unsafe.Sizeof(exchange{}); unsafe.Sizeof(uintptr(0)) == 8 && size > class {
		t.Errorf("an exchange has %d bytes, more than %d", size, class)
	}
}
