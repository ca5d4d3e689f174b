package app

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
)

// TestHeirIsSilent: a process that is to take another's place and cannot serve says nothing at
// the address where the other is asked whether it is ready.
func TestHeirIsSilent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	admin := l.Addr().String()
	conn, err := net.Dial("tcp", admin)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
	predecessor, ready, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer predecessor.Close()
	defer ready.Close()
	a, err := New(Config{
		Inline: []byte(minimal), InlineName: "test", Admin: admin,
		Handover: &Handover{sockets: []inheritedSocket{{l, netip.MustParseAddrPort(admin)}}, ready: ready},
		Listen:   func(context.Context, netip.AddrPort) (net.Listener, error) { return nil, errors.New("port taken") },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "port taken") {
		t.Errorf("Run returned %v", err)
	}
	if answer, _ := io.ReadAll(conn); len(answer) > 0 { // it ends in a reset
		t.Errorf("it said %q", answer)
	}
}
