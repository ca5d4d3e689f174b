package http3

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"weir.dev/weir/dataplane/http1"
)

// TestFieldsComeBack: what is encoded is what a decoder by others reads.
func TestFieldsComeBack(t *testing.T) {
	for status := 100; status < 600; status++ {
		if got := fieldsOf(appendStatus(appendPrefix(nil), status)); got != fmt.Sprint(":status=", status) {
			t.Errorf("%d is read as %q", status, got)
		}
	}
	names := []string{"x", "x-some-name", strings.Repeat("n", 31), strings.Repeat("n", 33), strings.Repeat("n", 5000)}
	for name := range staticNames {
		names = append(names, name)
	}
	for _, name := range names {
		for _, value := range []string{"", "v", strings.Repeat("v", 126), strings.Repeat("v", 127), strings.Repeat("v", 128), strings.Repeat("v", 70_000)} {
			if got := fieldsOf(appendField(appendPrefix(nil), []byte(strings.ToUpper(name)), []byte(value))); got != name+"="+value {
				t.Errorf("%.40s: %d bytes are read as %.80q", name, len(value), got)
			}
		}
	}
}

// FuzzSection: no field section panics, and one that is accepted makes one request of HTTP/1.1
// and nothing more.
func FuzzSection(f *testing.F) {
	for _, seed := range []string{
		ask("GET"), ask("POST", "content-length: 5", "cookie: a", "cookie: b", "host: a.test"),
		section(":method: CONNECT", ":protocol: websocket", ":scheme: https", ":path: /chat", ":authority: a"),
		section(":method: CONNECT", ":authority: a:1"), section(":method: OPTIONS", ":scheme: https", ":path: *", ":authority: a"),
		ask("GET", "x-a: b\r\n\r\nGET / HTTP/1.1"),
	} {
		_, _, n := parseFrame([]byte(seed))
		f.Add([]byte(seed[n:]), true)
		f.Add([]byte(seed[n:]), false)
	}
	f.Fuzz(func(t *testing.T, block []byte, chunked bool) {
		s := &Stream{block: block}
		s.head.Reset(8<<10, false)
		if !s.decode() || s.head.Finish(!chunked) != nil {
			return
		}
		chunked = chunked && s.head.Length() < 0 && !s.head.Tunnels()
		head := s.head.AppendTo(nil, chunked)
		if len(head) > 8<<10 {
			return // refused for its size
		}
		var req http1.Request
		n, err := req.Parse(head, &http1.Limits{MaxHead: 16 << 10})
		if err != nil {
			return // whoever parses it refuses it
		}
		if n != len(head) || !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
			t.Errorf("%d bytes of %q are a request", n, head)
		}
		if (req.Body == http1.BodyChunked) != chunked {
			t.Errorf("%q: body %v, in chunks: %v", head, req.Body, chunked)
		}
	})
}

// FuzzSettings: no SETTINGS frame panics.
func FuzzSettings(f *testing.F) {
	f.Add([]byte("\x06\x60\x00\x08\x01"))
	f.Fuzz(func(_ *testing.T, p []byte) { _ = checkSettings(p) })
}
