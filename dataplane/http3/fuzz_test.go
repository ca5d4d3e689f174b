package http3

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/quic-go/quic-go"

	"weir.dev/weir/dataplane/http1"
)

// FuzzStream: whatever a client sends on a stream, its handler reads one request of HTTP/1.1 and no
// byte more, or what no parser takes for one.
func FuzzStream(f *testing.F) {
	for _, seed := range []string{
		ask("GET"),
		ask("POST") + framed(kindData, "hello") + section("x-sum: 1"),
		ask("POST", "content-length: 5", "cookie: a", "cookie: b") + framed(kindData, "hel") + framed(0x21, "?") + framed(kindData, "lo"),
		ask("POST", "content-length: 5") + framed(kindData, "hello!"),
		ask("POST", "content-length: 8", "x-a: "+strings.Repeat("x", 600), "cookie: "+strings.Repeat("y", 600)) + framed(kindData, "x: y\r\n\r\n"),
		section(":method: CONNECT", ":protocol: websocket", ":scheme: https", ":path: /chat", ":authority: a.test") + framed(kindData, "raw"),
		section(":method: OPTIONS", ":scheme: https", ":path: *", "host: a.test"),
		framed(kindHeaders, "\x00\x00\xd1\xd7\xc1\x50\x00"),
		framed(kindSettings, ""),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		w := newSite(t, func(s *Stream) {
			text := readAll(s)
			if wrong := overrun(text); wrong != "" {
				t.Errorf("%s: %q", wrong, text)
			}
			_ = write(s, "HTTP/1.1 200 OK\nContent-Length: 0\n\n")
		}, func(cfg *Config) { cfg.MaxHead = 1000 })
		_, err := io.Copy(io.Discard, w.greet().open(string(in), true))
		var reset *quic.StreamError
		var over *quic.ApplicationError
		if err != nil && !errors.As(err, &reset) && !errors.As(err, &over) {
			t.Errorf("neither an answer nor a reason: %v", err)
		}
	})
}

// overrun says what is wrong with what a handler has read; empty: nothing.
func overrun(text string) string {
	var r http1.Request
	n, err := r.Parse([]byte(text), &http1.Limits{})
	switch {
	case err != nil:
		return "" // refused
	case n == 0:
		return "an open head"
	}
	body := text[n:]
	if strings.HasSuffix(body, " "+errReset.Error()) { // what readAll notes: the client is to blame
		return ""
	}
	switch r.Body {
	case http1.BodyLength:
		if int64(len(body)) != r.Length {
			return "a body of another length"
		}
	case http1.BodyChunked:
		if used, done, err := new(http1.Chunked).Scan([]byte(body)); (err == nil && !done) || used != len(body) && err == nil {
			return "more or less than a body"
		}
	default:
		if body != "" && r.Upgrade == nil {
			return "more than a request"
		}
	}
	return ""
}
