//go:build linux

package main

import (
	"os"
	"regexp"
	"strconv"
	"testing"
)

func TestTheLoadMakesRoomForItself(t *testing.T) {
	if err := growDescriptorTable(700); err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	size := regexp.MustCompile(`\nFDSize:\s+(\d+)\n`).FindSubmatch(status)
	if size == nil {
		t.Fatalf("no size in\n%s", status)
	}
	if n, err := strconv.Atoi(string(size[1])); err != nil || n < 700 {
		t.Errorf("room for %d: %v", n, err)
	}
}
