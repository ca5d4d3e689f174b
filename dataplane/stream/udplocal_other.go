//go:build !linux

package stream

import "net/netip"

// Here the kernel chooses the address that answers come from: on a machine with several, a
// listener needs an address of its own.

var controlSize = 0

func askLocal(udpSocket) bool        { return false }
func localOf([]byte) netip.Addr      { return netip.Addr{} }
func replyControl([]byte) (c []byte) { return nil }
