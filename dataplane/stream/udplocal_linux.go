package stream

import (
	"net"
	"net/netip"
	"syscall"
	"unsafe"
)

// A socket for all addresses of a machine has to be asked which of them a datagram came to,
// and told which one an answer is to come from: the client takes it from no other. The kernel
// says and is told so in a control message (ip(7) IP_PKTINFO, ipv6(7) IPV6_RECVPKTINFO).

// controlSize is room for what the kernel says, in bytes.
var controlSize = syscall.CmsgSpace(syscall.SizeofInet6Pktinfo)

// askLocal has a socket for all addresses say which one datagrams came to. It reports
// whether it does.
func askLocal(s udpSocket) bool {
	a, ok := s.LocalAddr().(*net.UDPAddr)
	if !ok || !a.IP.IsUnspecified() {
		return false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	asked := false
	err = raw.Control(func(fd uintptr) {
		v6 := syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IPV6, syscall.IPV6_RECVPKTINFO, 1)
		asked = v6 == nil || syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_PKTINFO, 1) == nil
	})
	return asked && err == nil
}

// pktinfo returns the data of a control message that says where a datagram came to, and its
// kind; nil: there is none.
func pktinfo(control []byte) (data []byte, level int32) {
	if len(control) < syscall.SizeofCmsghdr {
		return nil, 0
	}
	h := (*syscall.Cmsghdr)(unsafe.Pointer(unsafe.SliceData(control)))
	if uint64(h.Len) > uint64(len(control)) || uint64(h.Len) < uint64(syscall.CmsgLen(0)) {
		return nil, 0
	}
	data = control[syscall.CmsgLen(0):h.Len]
	switch {
	case h.Level == syscall.IPPROTO_IP && h.Type == syscall.IP_PKTINFO && len(data) >= syscall.SizeofInet4Pktinfo,
		h.Level == syscall.IPPROTO_IPV6 && h.Type == syscall.IPV6_PKTINFO && len(data) >= syscall.SizeofInet6Pktinfo:
		return data, h.Level
	}
	return nil, 0
}

// localOf returns the address that a datagram came to, invalid if that is not known.
func localOf(control []byte) netip.Addr {
	data, level := pktinfo(control)
	switch {
	case data == nil:
		return netip.Addr{}
	case level == syscall.IPPROTO_IP: // interface, local address, the header's destination
		return netip.AddrFrom4([4]byte(data[4:8]))
	default: // address, interface
		return netip.AddrFrom16([16]byte(data[:16]))
	}
}

// replyControl returns what has answers come from the address that control says, by whatever
// interface leads to the client, but for addresses that mean something on one link only.
func replyControl(control []byte) []byte {
	data, level := pktinfo(control)
	if data == nil {
		return nil
	}
	out := append([]byte(nil), control[:syscall.CmsgLen(len(data))]...)
	out = append(out, make([]byte, syscall.CmsgSpace(len(data))-len(out))...)
	info := out[syscall.CmsgLen(0):]
	switch {
	case level == syscall.IPPROTO_IP:
		clear(info[:4])
	case !localOf(control).IsLinkLocalUnicast():
		clear(info[16:20])
	}
	return out
}
