package app

import (
	"context"
	"encoding/json"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestPacketSocketsChangeHands hands a socket over as an upgrade does: what waits in its queue
// is not lost, and the new process has it for the address that was asked for.
func TestPacketSocketsChangeHands(t *testing.T) {
	asked, gone := netip.MustParseAddrPort("127.0.0.1:0"), netip.MustParseAddrPort("127.0.0.2:0")
	old := newSockets(nil, listenPacket, nil)
	pc, err := old.packets.Listen(t.Context(), asked)
	if err != nil {
		t.Fatal(err)
	}
	closed, err := old.packets.Listen(t.Context(), gone)
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	client, err := net.Dial("udp", pc.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	client.Write([]byte("waiting"))

	list, err := old.duplicate()
	if err != nil || len(list) != 1 || !list[0].packets || list[0].asked != asked {
		t.Fatalf("%+v, %v", list, err)
	}
	ready, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(handoverMessage{
		Format: handoverFormat, Ready: inherited(t, ready),
		Packets: []handedSocket{{asked, inherited(t, list[0].file)}, {gone, 1 << 20}}, Tickets: 1 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	h, err := openHandover(string(text))
	if err == nil || len(h.packets) != 1 {
		t.Fatalf("%+v, %v: a socket that is none was not reported", h, err)
	}
	if strings.Contains(err.Error(), "tickets") || h.tickets == nil {
		t.Errorf("%v: sessions that cannot be resumed keep this process from starting, or nobody hears of them", err)
	}
	h.ready.Close()
	pc.Close()

	fresh := newSockets(nil, listenPacket, h)
	same, err := fresh.packets.Listen(t.Context(), asked)
	if err != nil || same.LocalAddr().String() != pc.LocalAddr().String() {
		t.Fatalf("at %v, not %v: %v", same.LocalAddr(), pc.LocalAddr(), err)
	}
	same.SetReadDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 10)
	if n, _, err := same.ReadFrom(buf); err != nil || string(buf[:n]) != "waiting" {
		t.Errorf("%q, %v", buf[:n], err)
	}
	other, err := fresh.packets.Listen(t.Context(), asked) // it is given out once
	if err != nil || other.LocalAddr().String() == same.LocalAddr().String() {
		t.Errorf("at %v: %v", other.LocalAddr(), err)
	}
	same.Close()
	other.Close()
}

// TestQUICChangesHands: packets of QUIC are not read before this process serves and the one before
// it has closed its end.
func TestQUICChangesHands(t *testing.T) {
	for _, servesFirst := range []bool{true, false} {
		end, predecessor, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		a := &App{begin: make(chan struct{}), beginQUIC: make(chan struct{})}
		before := &App{beginQUIC: make(chan struct{})}
		before.quic.Store(predecessor)
		before.quicEnded() // it does not read them itself yet
		if before.quic.Load() == nil {
			t.Error("given away by one who does not have it")
		}
		close(before.beginQUIC)
		go a.awaitPredecessor(t.Context(), end)
		steps := []func(){func() { close(a.begin) }, before.quicEnded}
		if !servesFirst {
			slices.Reverse(steps)
		}
		steps[0]()
		select {
		case <-a.beginQUIC:
			t.Error("too soon")
		default:
		}
		steps[1]()
		<-a.beginQUIC
	}
	end, predecessor, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer predecessor.Close()
	ctx, cancel := context.WithCancel(t.Context())
	a := &App{begin: make(chan struct{}), beginQUIC: make(chan struct{})}
	close(a.begin)
	done := make(chan struct{})
	go func() { defer close(done); a.awaitPredecessor(ctx, end) }()
	cancel()
	<-done // although the predecessor lives
}

// inherited closes a file and returns a descriptor for it that nobody here owns.
func inherited(t *testing.T, f *os.File) int {
	t.Helper()
	defer f.Close()
	fd, err := descriptor(f)
	if err != nil {
		t.Fatal(err)
	}
	copied, err := syscall.Dup(int(fd))
	if err != nil {
		t.Fatal(err)
	}
	return copied
}

func TestUnclaimedPacketSocketsAreClosed(t *testing.T) {
	pc, err := listenPacket(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	s := newSockets(nil, listenPacket, &Handover{packets: []packetSocket{{pc, netip.MustParseAddrPort("127.0.0.1:1")}}})
	if err := s.closeUnclaimed(); err != nil {
		t.Fatal(err)
	}
	if _, err := pc.WriteTo(nil, pc.LocalAddr()); err == nil {
		t.Error("it is open")
	}
}

// TestListenPacketFamilies: as for TCP, [::] takes both families, 0.0.0.0 only its own.
func TestListenPacketFamilies(t *testing.T) {
	probe, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		t.Logf("no IPv6 here: %v", err)
		return
	}
	probe.Close()
	for unspecified, both := range map[string]bool{"[::]:0": true, "0.0.0.0:0": false} {
		pc, err := listenPacket(context.Background(), netip.MustParseAddrPort(unspecified))
		if err != nil {
			t.Fatal(err)
		}
		port := pc.LocalAddr().(*net.UDPAddr).Port
		six, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback, Port: port})
		if err == nil {
			six.Close()
		}
		if (err != nil) != both {
			t.Errorf("%s takes IPv6: %v", unspecified, err)
		}
		pc.Close()
	}
}
