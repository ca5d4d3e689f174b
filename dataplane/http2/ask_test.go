package http2

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2/hpack"
)

// fieldsOf decodes a header block.
func fieldsOf(t *testing.T, block []byte) (all []string) {
	t.Helper()
	fields, err := hpack.NewDecoder(0, nil).DecodeFull(block)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fields {
		all = append(all, f.Name+": "+f.Value)
	}
	return all
}

func TestAskReadsWholeHeads(t *testing.T) {
	head := []byte("POST /a?b HTTP/1.1\r\nHost: shop\r\nContent-Type: application/grpc+proto\r\nX-Odd:  a:b\rc \r\n" +
		"Connection: upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: k\r\nContent-Length: 12\r\nTE: trailers\r\nEmpty:\r\n\r\n")
	for n := range head {
		if got := new(ask).read(head[:n]); got != 0 {
			t.Fatalf("%d bytes of a head of %d are read as %d", n, len(head), got)
		}
	}
	var a ask
	if got := a.read(append(bytes.Clone(head), "X: body\r\n\r\n"...)); got != len(head) {
		t.Fatalf("read %d bytes of a head of %d", got, len(head))
	}
	if string(a.method) != "POST" || string(a.target) != "/a?b" || string(a.host) != "shop" || a.length != 12 || !a.grpc || !a.websocket || a.chunked {
		t.Errorf("read %+v", a)
	}
	want := []string{"content-type: application/grpc+proto", "x-odd: a:b\rc", "content-length: 12", "empty: "}
	if diff := cmp.Diff(want, fieldsOf(t, a.fields)); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(append(want, "te: trailers"), fieldsOf(t, a.appendFields(nil, true))); diff != "" {
		t.Errorf("of a tunnel (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(append(want, "sec-websocket-key: k", "te: trailers"), fieldsOf(t, a.appendFields(nil, false))); diff != "" {
		t.Errorf("of no tunnel (-want +got):\n%s", diff)
	}
}

// TestHeadsAreMeasuredAsTheyAreSent: what is held against a host's limit is what it will count.
func TestHeadsAreMeasuredAsTheyAreSent(t *testing.T) {
	for _, head := range []string{
		"GET / HTTP/1.1\r\nX-A:  b\r\n\r\n",
		"GET /long HTTP/1.1\r\nHost: shop\r\nConnection: x\r\nTE: trailers\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 12\r\n\r\n",
		"PUT /a HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\nContent-Type: application/grpc\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: shop\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZQ==\r\n\r\n",
	} {
		var a ask
		a.read([]byte(head))
		for i := range 4 {
			tunnel, secured := i&1 > 0, i&2 > 0
			fields, err := hpack.NewDecoder(0, nil).DecodeFull(a.appendFields(a.appendPseudo(nil, tunnel, secured), tunnel))
			if err != nil {
				t.Fatal(err)
			}
			want := 0
			for _, f := range fields {
				want += int(f.Size())
			}
			if got := a.listed(tunnel, secured); got != want {
				t.Errorf("%q, tunnel %v, secured %v: measured as %d, has %d", head, tunnel, secured, got, want)
			}
		}
	}
}

func TestStaticNames(t *testing.T) {
	known := 0
	for _, names := range staticNames {
		for _, n := range names {
			known++
			block := appendField(nil, []byte(strings.ToUpper(n.name)), []byte("v"))
			if want := n.name + ": v"; fieldsOf(t, block)[0] != want || len(block) > 4 {
				t.Errorf("%s is sent as % x", n.name, block)
			}
			for _, other := range []string{n.name[1:], n.name + "s", "q" + n.name[1:]} {
				if got := fieldsOf(t, appendField(nil, []byte(other), []byte("v"))); got[0] != other+": v" {
					t.Errorf("%s is sent as %s", other, got)
				}
			}
		}
	}
	if known != 45 {
		t.Errorf("%d names are known", known)
	}
}
