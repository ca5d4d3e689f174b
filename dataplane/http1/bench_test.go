package http1

import (
	"bytes"
	"testing"
)

var browserRequest = []byte("GET /shop/cart?id=17 HTTP/1.1\r\n" +
	"Host: shop.example.com\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36\r\n" +
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
	"Connection: keep-alive\r\n\r\n")

var upstreamAnswer = []byte("HTTP/1.1 200 OK\r\n" +
	"Server: nginx\r\n" +
	"Date: Sat, 21 Nov 2026 10:00:00 GMT\r\n" +
	"Content-Type: text/html; charset=utf-8\r\n" +
	"Content-Length: 200\r\n" +
	"Connection: keep-alive\r\n\r\n")

// untidyRequest needs all the scratch there is.
var untidyRequest = []byte("GET /a/../%7eb//c%c3%a9 HTTP/1.1\r\nHost: SHOP.example.com:80\r\nX-A: 1\r\nx-a: 2\r\n\r\n")

var chunkedBody = []byte("400\r\n" + string(bytes.Repeat([]byte("x"), 0x400)) + "\r\n10\r\n0123456789abcdef\r\n0\r\nX-Sum: 1\r\n\r\n")

func mustParse(tb testing.TB, n int, err error, want int) {
	if n != want || err != nil {
		tb.Fatalf("n = %d, error %v", n, err)
	}
}

func BenchmarkRequest(b *testing.B) {
	var r Request
	var lim Limits
	b.SetBytes(int64(len(browserRequest)))
	b.ReportAllocs()
	for b.Loop() {
		r.Reset()
		n, err := r.Parse(browserRequest, &lim)
		mustParse(b, n, err, len(browserRequest))
	}
}

func BenchmarkResponse(b *testing.B) {
	var r Response
	var lim Limits
	method := []byte("GET")
	b.SetBytes(int64(len(upstreamAnswer)))
	b.ReportAllocs()
	for b.Loop() {
		r.Reset()
		n, err := r.Parse(upstreamAnswer, &lim, method)
		mustParse(b, n, err, len(upstreamAnswer))
	}
}

func BenchmarkChunked(b *testing.B) {
	var c Chunked
	b.SetBytes(int64(len(chunkedBody)))
	b.ReportAllocs()
	for b.Loop() {
		c.Reset()
		n, _, err := c.Scan(chunkedBody)
		mustParse(b, n, err, len(chunkedBody))
	}
}

// Nothing allocates once its memory is warm, a refusal included.
func TestNoAllocations(t *testing.T) {
	var (
		r   Request
		a   Response
		c   Chunked
		lim Limits
		dst = make([]byte, 0, 1<<10)
		get = []byte("GET")
		bad = []byte("GET / HTTP/1.1\r\nHost : a\r\n\r\n")
	)
	for _, test := range []struct {
		name string
		do   func()
	}{
		{"request", func() {
			r.Reset()
			n, err := r.Parse(browserRequest, &lim)
			mustParse(t, n, err, len(browserRequest))
		}},
		{"request with scratch", func() {
			r.Reset()
			n, err := r.Parse(untidyRequest, &lim)
			mustParse(t, n, err, len(untidyRequest))
			if v, _ := r.Joined("x-a"); string(v) != "1,2" {
				t.Errorf("joined: %q", v)
			}
		}},
		{"refused request", func() {
			r.Reset()
			if _, err := r.Parse(bad, &lim); err == nil {
				t.Error("accepted")
			}
		}},
		{"answer", func() {
			a.Reset()
			n, err := a.Parse(upstreamAnswer, &lim, get)
			mustParse(t, n, err, len(upstreamAnswer))
		}},
		{"chunked", func() {
			c.Reset()
			n, _, err := c.Scan(chunkedBody)
			mustParse(t, n, err, len(chunkedBody))
		}},
		{"append", func() {
			dst = AppendRequestLine(dst[:0], r.Method, r.Path, r.Query, r.HasQuery)
			dst = AppendStatusLine(dst, 200)
			dst = AppendStatusLine(dst, 299)
			dst = AppendFieldString(dst, "a", "b")
			dst = AppendChunkSize(dst, 1000)
		}},
	} {
		test.do()
		if n := testing.AllocsPerRun(100, test.do); n != 0 {
			t.Errorf("%s: %v allocations", test.name, n)
		}
	}
}
