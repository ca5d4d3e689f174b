package http2

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/transport"
)

// FuzzConnection sends a connection anything behind a good greeting: it may not panic or hang,
// and its handlers may see only whole heads and well-formed chunks.
func FuzzConnection(f *testing.F) {
	head := "\x82\x86\x84\x41\x01a" // GET http / a
	frame := func(k kind, flags uint8, stream uint32, p string) string {
		return string(append(appendFrame(nil, len(p), k, flags, stream), p...))
	}
	for _, seed := range []string{
		frame(kindHeaders, flagEndHeaders|flagEndStream, 1, head),
		frame(kindHeaders, flagEndHeaders, 1, head) + frame(kindData, flagEndStream, 1, "body"),
		frame(kindHeaders, flagEndHeaders, 1, head) + frame(kindData, flagPadded, 1, "\x01body\x00") + frame(kindHeaders, 5, 1, "\x00\x01t\x01u"),
		frame(kindHeaders, 0, 1, head[:3]) + frame(kindContinuation, flagEndHeaders|flagEndStream, 1, head[3:]),
		frame(kindSettings, 0, 0, "\x00\x04\x00\x00\x00\x01") + frame(kindHeaders, 5, 1, head) + frame(kindWindow, 0, 1, "\x00\x00\x00\x09"),
		frame(kindHeaders, 5, 1, head) + frame(kindReset, 0, 1, "\x00\x00\x00\x08") + frame(kindPing, 0, 0, "01234567"),
		frame(kindGoAway, 0, 0, "\x00\x00\x00\x00\x00\x00\x00\x00") + frame(kindPriority, 0, 3, "\x00\x00\x00\x01\x01"),
		frame(kindHeaders, 5, 1, "\x02\x07CONNECT\x00\x09:protocol\x09websocket\x86\x84\x41\x01a"),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		r := serve(t, func(s *Stream) { checkStream(t, s) }, func(cfg *Config) {
			cfg.BodyTimeout, cfg.HeadTimeout, cfg.KeepAlive = time.Second, time.Second, time.Second
		}).greet()
		_, _ = r.Write(p)
		_ = r.Conn.(interface{ CloseWrite() error }).CloseWrite()
		for ok := true; ok; {
			_, ok = r.next()
		}
	})
}

// checkStream handles a stream as the engine would, and judges what it sees.
func checkStream(t *testing.T, s *Stream) {
	limits := http1.Limits{MaxHead: 16 << 10, Underscores: "Keep", Escapes: "Keep"}
	var req http1.Request
	all := bytes.Clone(s.In.Bytes())
	n, err := req.Parse(all, &limits)
	if err == nil && n == 0 && len(all) < limits.MaxHead {
		t.Errorf("there is no head in %q", all)
	}
	var chunks http1.Chunked
	var b transport.Buffer
	defer b.Release()
	b.Append(all[n:]) // what had come of the body
	for come := b.Len() > 0; err == nil && n > 0 && req.Body != http1.BodyNone; come = false {
		if !come {
			if _, readErr := s.Conn.ReadInto(&b, transport.Wait{Gap: time.Second}); readErr != nil {
				break
			}
		}
		used := b.Len()
		if req.Body == http1.BodyChunked {
			var wrong error
			// Fields that may not stand in trailers are for the engine to refuse.
			if used, _, wrong = chunks.Scan(b.Bytes()); wrong != nil && !strings.Contains(wrong.Error(), "trailer") {
				t.Errorf("%v in %q", wrong, b.Bytes())
			}
			if wrong != nil {
				break
			}
		}
		b.Consume(used)
	}
	_ = s.Conn.Write([]byte(hello), transport.Wait{Gap: time.Second})
}

// FuzzHead: a header block that is accepted makes exactly one head, in which every line is
// one of its fields.
func FuzzHead(f *testing.F) {
	f.Add("GET", "http", "/", "a", "x-a", "b")
	f.Add("CONNECT", "", "", "a:1", "cookie", "b=c")
	f.Add("OPTIONS", "https", "*", "a", "content-length", "0")
	f.Fuzz(func(t *testing.T, method, scheme, path, authority, name, value string) {
		var h head
		h.reset(16<<10, false)
		for _, field := range []hpack.HeaderField{
			{Name: ":method", Value: method},
			{Name: ":scheme", Value: scheme},
			{Name: ":path", Value: path},
			{Name: ":authority", Value: authority},
			{Name: name, Value: value},
		} {
			if field.Name != ":scheme" && field.Name != ":path" || method != "CONNECT" {
				h.field(field)
			}
		}
		if h.finish(true) != nil || h.over {
			return
		}
		head := string(h.appendTo(nil, false))
		lines := strings.Split(head, "\r\n")
		if at := strings.Index(head, "\r\n\r\n"); at != len(head)-4 {
			t.Errorf("the head ends at %d of %d bytes: %q", at, len(head), head)
		}
		if len(lines) > 5 || strings.Count(lines[0], " ") != 2 || strings.ContainsAny(strings.ReplaceAll(head, "\r\n", ""), "\r\n\x00") {
			t.Errorf("malformed: %q", head)
		}
	})
}

// FuzzEncode: what is appended is what a decoder that others wrote reads.
func FuzzEncode(f *testing.F) {
	f.Add(200, "Content-Type", "text/plain")
	f.Add(418, "X-Long-Name-That-No-Table-Has-And-That-Goes-On", strings.Repeat("v", 300))
	f.Fuzz(func(t *testing.T, status int, name, value string) {
		if status < 100 || status > 999 {
			return
		}
		block := appendField(appendStatus(appendNoTable(nil), status), []byte(name), []byte(value))
		fields, err := hpack.NewDecoder(4096, nil).DecodeFull(block)
		if err != nil || len(fields) != 2 {
			t.Fatalf("%x: %v %v", block, fields, err)
		}
		folded := []byte(name)
		for i, c := range folded {
			folded[i] = lower[c]
		}
		if fields[1].Name != string(folded) || fields[1].Value != value {
			t.Errorf("got %v for %q: %q", fields[1], name, value)
		}
	})
}
