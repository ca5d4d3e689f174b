//go:build unix && !linux

package main

import "syscall"

// withParent keeps Ctrl-C for this program. Here it has no way to end the child when this
// program is killed.
func withParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
