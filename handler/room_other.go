//go:build !unix

package handler

func openFiles() uint64 { return 1 << 20 }
