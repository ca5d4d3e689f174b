package stream

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

// BenchmarkDatagram is a question and its answer: four system calls of ours, and as many of the
// client's and the host's.
func BenchmarkDatagram(b *testing.B) {
	host, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	defer host.Close()
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := host.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			_, _ = host.WriteToUDPAddrPort(buf[:n], from)
		}
	}()
	r := newUDPRig(b, nil, host.LocalAddr().(*net.UDPAddr).AddrPort())
	c := r.client()
	buf := make([]byte, 2048)
	c.SetReadDeadline(time.Now().Add(time.Hour))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(buf[:100]); err != nil {
			b.Fatal(err)
		}
		if _, err := c.Read(buf); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPassOn is what a datagram of a session costs between having been read and having been
// sent, the sending included.
func BenchmarkPassOn(b *testing.B) {
	host, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}) // it never reads
	if err != nil {
		b.Fatal(err)
	}
	defer host.Close()
	r := newUDPRig(b, nil, host.LocalAddr().(*net.UDPAddr).AddrPort())
	tbl := <-r.tables
	from := path{client: netip.MustParseAddrPort("203.0.113.1:1000")}
	datagram := make([]byte, 100)
	b.ReportAllocs()
	for b.Loop() {
		tbl.take(from, datagram, nil)
	}
}
