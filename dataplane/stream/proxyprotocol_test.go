package stream

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"

	"weir.dev/weir/model"
)

// TestStreamsAreTold: a host hears whose the connection is, and then every byte, those that came
// together with the client's own header and those that are spliced.
func TestStreamsAreTold(t *testing.T) {
	r := newRig(t, []string{host(t, echo)}, func(_ *rig, s *model.Snapshot) {
		s.Clusters[0].ProxyProtocol = model.ProxyProtocolV1
		s.Listeners[0].Client.ProxyProtocol = true
		s.Listeners[0].Client.TrustAddresses = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	c := r.connect()
	data := make([]byte, 4<<20)
	_, _ = rand.Read(data)
	const header = "PROXY TCP4 198.51.100.7 203.0.113.1 5555 5432\r\n"
	go func() {
		_, _ = io.WriteString(c, header+string(data[:10_000]))
		_, _ = c.Write(data[10_000:])
		_ = c.CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(got), header) || !bytes.Equal(got[len(header):], data) {
		t.Errorf("%d bytes came back, %v; they begin with %q", len(got), err, got[:min(len(got), 100)])
	}
	rec := r.record()
	if rec.Client != "198.51.100.7:5555" || rec.BytesIn != int64(len(data)) || rec.BytesOut != int64(len(header)+len(data)) {
		t.Errorf("the record is %+v", rec)
	}
}

// TestStreamsAreToldWhoConnects has no header in front.
func TestStreamsAreToldWhoConnects(t *testing.T) {
	r := newRig(t, []string{host(t, echo)}, func(_ *rig, s *model.Snapshot) { s.Clusters[0].ProxyProtocol = model.ProxyProtocolV1 })
	c := r.connect()
	own, ours := netip.MustParseAddrPort(c.LocalAddr().String()), netip.MustParseAddrPort(c.RemoteAddr().String())
	want := fmt.Sprintf("PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\nhello", own.Port(), ours.Port())
	_, _ = io.WriteString(c, "hello")
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}
