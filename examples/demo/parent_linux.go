package main

import "syscall"

// withParent ends the child when this program dies, however it dies, and keeps Ctrl-C for
// this program, so that things end in order.
func withParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
}
