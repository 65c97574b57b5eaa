package handler

import (
	"testing"
	"unsafe"
)

// An exchange lies in the allocator's class of 1,152 bytes. One byte more, and each
// request takes 128 more.
func TestAnExchangeFitsItsSizeClass(t *testing.T) {
	const class = 1152
	if size := unsafe.Sizeof(exchange{}); unsafe.Sizeof(uintptr(0)) == 8 && size > class {
		t.Errorf("an exchange has %d bytes, more than %d", size, class)
	}
}
