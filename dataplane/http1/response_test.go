package http1

import (
	"fmt"
	"strings"
	"testing"
)

// ok is an answer with status 200 and the given fields.
func ok(fields ...string) string {
	return req(append([]string{"HTTP/1.1 200 OK"}, fields...)...)
}

// answer is a row of a table of raw answers.
type answer struct {
	message
	method string // of the request; empty: GET
}

const protocol = "502 "

var answers = []answer{
	// Legal.
	{message: message{name: "length", raw: ok("Content-Length: 5"), want: "200 OK length=5 Content-Length=5"}},
	{message: message{name: "length 0", raw: ok("Content-Length: 0"), want: "200 OK Content-Length=0"}},
	{message: message{name: "chunked", raw: ok("Transfer-Encoding: chunked"), want: "200 OK chunked hop=Transfer-Encoding"}},
	{message: message{name: "until close", raw: ok(), want: "200 OK close until close"}},
	{message: message{name: "until close whatever Connection says", raw: ok("Connection: keep-alive"), want: "200 OK close until close hop=Connection"}},
	{message: message{name: "close", raw: ok("Content-Length: 5", "Connection: close"), want: "200 OK close length=5 Content-Length=5 hop=Connection"}},
	{message: message{name: "HTTP/1.0", raw: req("HTTP/1.0 200 OK", "Content-Length: 5"), want: "200 OK minor=0 close length=5 Content-Length=5"}},
	{message: message{name: "HTTP/1.0 keep-alive", raw: req("HTTP/1.0 200 OK", "Content-Length: 5", "Connection: keep-alive"), want: "200 OK minor=0 length=5 Content-Length=5 hop=Connection"}},
	{message: message{name: "empty reason", raw: req("HTTP/1.1 200 ", "Content-Length: 0"), want: "200  Content-Length=0"}},
	{message: message{name: "no reason", raw: req("HTTP/1.1 200", "Content-Length: 0"), want: "200  Content-Length=0"}},
	{message: message{name: "long reason", raw: req("HTTP/1.1 404 Not  F\xf6und\t", "Content-Length: 0"), want: "404 Not  F\xf6und\t Content-Length=0"}},
	{message: message{name: "unregistered status", raw: req("HTTP/1.1 299 Odd", "Content-Length: 0"), want: "299 Odd Content-Length=0"}},
	{message: message{name: "100", raw: req("HTTP/1.1 100 Continue"), want: "100 Continue"}},
	{message: message{name: "103", raw: req("HTTP/1.1 103 Early Hints", "Link: </a>"), want: "103 Early Hints Link=</a>"}},
	{message: message{name: "101", raw: req("HTTP/1.1 101 Switching Protocols", "Connection: upgrade", "Upgrade: websocket"), want: "101 Switching Protocols close upgrade=websocket hop=Connection hop=Upgrade"}},
	{message: message{name: "204", raw: req("HTTP/1.1 204 No Content"), want: "204 No Content"}},
	{message: message{name: "204 with length 0", raw: req("HTTP/1.1 204 No Content", "Content-Length: 0"), want: "204 No Content dropped=Content-Length"}},
	{message: message{name: "304 with length", raw: req("HTTP/1.1 304 Not Modified", "Content-Length: 5"), want: "304 Not Modified Content-Length=5"}},
	{message: message{name: "304 with chunked", raw: req("HTTP/1.1 304 Not Modified", "Transfer-Encoding: chunked"), want: "304 Not Modified hop=Transfer-Encoding"}},
	{message: message{name: "HEAD with length", raw: ok("Content-Length: 5"), want: "200 OK Content-Length=5"}, method: "HEAD"},
	{message: message{name: "HEAD with chunked", raw: ok("Transfer-Encoding: chunked"), want: "200 OK hop=Transfer-Encoding"}, method: "HEAD"},
	{message: message{name: "HEAD with neither", raw: ok(), want: "200 OK"}, method: "HEAD"},
	{message: message{name: "CONNECT", raw: ok(), want: "200 OK close"}, method: "CONNECT"},
	{message: message{name: "CONNECT that is refused", raw: req("HTTP/1.1 403 No", "Content-Length: 5"), want: "403 No length=5 Content-Length=5"}, method: "CONNECT"},
	{message: message{name: "underscores are the upstream's affair", raw: ok("x_y: 1", "Content-Length: 0"), want: "200 OK x_y=1 Content-Length=0"}},
	{message: message{name: "Connection names a field", raw: ok("X: 1", "Connection: x", "Content-Length: 0"), want: "200 OK hop=X hop=Connection Content-Length=0"}},
	{message: message{name: "incomplete", raw: "HTTP/1.1 200 OK\r\n", want: ""}},

	// Status lines.
	{message: message{name: "empty line first", raw: "\r\n" + ok(), want: protocol + "malformed status line"}},
	{message: message{name: "not HTTP", raw: "SSH-2.0-x\r\n", want: protocol + "malformed status line"}},
	{message: message{name: "lower case", raw: "http/1.1 200 OK\r\n\r\n", want: protocol + "malformed status line"}},
	{message: message{name: "HTTP/2", raw: "HTTP/2.0 200 OK\r\n\r\n", want: protocol + "HTTP version is neither 1.0 nor 1.1"}},
	{message: message{name: "HTTP/1.x", raw: "HTTP/1.x 200 OK\r\n\r\n", want: protocol + "malformed HTTP version"}},
	{message: message{name: "two digits", raw: "HTTP/1.1 20 OK\r\n\r\n", want: protocol + "malformed status line"}},
	{message: message{name: "four digits", raw: "HTTP/1.1 2000 OK\r\n\r\n", want: protocol + "malformed status line"}},
	{message: message{name: "sign", raw: "HTTP/1.1 +20 OK\r\n\r\n", want: protocol + "malformed status line"}},
	{message: message{name: "two spaces", raw: "HTTP/1.1  200 OK\r\n\r\n", want: protocol + "malformed status line"}},
	{message: message{name: "tab before the reason", raw: "HTTP/1.1 200\tOK\r\n\r\n", want: protocol + "malformed status line"}},
	{message: message{name: "status 099", raw: "HTTP/1.1 099 Low\r\n\r\n", want: protocol + "status outside 100 to 599"}},
	{message: message{name: "status 600", raw: "HTTP/1.1 600 High\r\n\r\n", want: protocol + "status outside 100 to 599"}},
	{message: message{name: "NUL in the reason", raw: "HTTP/1.1 200 O\x00\r\n\r\n", want: protocol + "control character in the reason phrase"}},
	{message: message{name: "bare CR in the reason", raw: "HTTP/1.1 200 O\rK\r\n\r\n", want: protocol + "control character in the reason phrase"}},
	{message: message{name: "bare LF", raw: "HTTP/1.1 200 OK\nX: 1\r\n\r\n", want: protocol + "line feed without carriage return"}},
	{message: message{name: "long line", raw: "HTTP/1.1 200 " + strings.Repeat("a", 120), want: protocol + "head too large"}},

	// Fields.
	{message: message{name: "fold", raw: ok("X: a", " b"), want: protocol + "folded header line"}},
	{message: message{name: "space before the colon", raw: ok("X : a"), want: protocol + "space before the colon of a header"}},
	{message: message{name: "many fields", raw: ok("A: 1", "B: 1", "C: 1", "D: 1", "E: 1", "F: 1", "G: 1", "H: 1", "I: 1"), want: protocol + "too many header fields"}},
	{message: message{name: "long head", raw: ok("X: " + strings.Repeat("x", 400)), want: protocol + "head too large"}},

	// Framing.
	{message: message{name: "length and chunked", raw: ok("Content-Length: 5", "Transfer-Encoding: chunked"), want: protocol + "both Content-Length and Transfer-Encoding"}},
	{message: message{name: "length and chunked for HEAD", raw: ok("Content-Length: 5", "Transfer-Encoding: chunked"), want: protocol + "both Content-Length and Transfer-Encoding"}, method: "HEAD"},
	{message: message{name: "two lengths", raw: ok("Content-Length: 5", "Content-Length: 5"), want: protocol + "several Content-Lengths"}},
	{message: message{name: "list of lengths", raw: ok("Content-Length: 5,5"), want: protocol + "malformed Content-Length"}},
	{message: message{name: "bad length for HEAD", raw: ok("Content-Length: x"), want: protocol + "malformed Content-Length"}, method: "HEAD"},
	{message: message{name: "gzip", raw: ok("Transfer-Encoding: gzip"), want: protocol + "transfer coding other than chunked"}},
	{message: message{name: "identity", raw: ok("Transfer-Encoding: identity"), want: protocol + "transfer coding other than chunked"}},
	{message: message{name: "chunked twice", raw: ok("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), want: protocol + "several Transfer-Encodings"}},
	{message: message{name: "chunked in HTTP/1.0", raw: req("HTTP/1.0 200 OK", "Transfer-Encoding: chunked"), want: protocol + "Transfer-Encoding in HTTP/1.0"}},
	{message: message{name: "100 with length", raw: req("HTTP/1.1 100 Continue", "Content-Length: 5"), want: protocol + "body announced by an answer that cannot have one"}},
	{message: message{name: "101 with chunked", raw: req("HTTP/1.1 101 S", "Connection: upgrade", "Upgrade: x", "Transfer-Encoding: chunked"), want: protocol + "body announced by an answer that cannot have one"}},
	{message: message{name: "204 with length", raw: req("HTTP/1.1 204 No Content", "Content-Length: 5"), want: protocol + "body announced by an answer that cannot have one"}},
	{message: message{name: "204 with chunked", raw: req("HTTP/1.1 204 No Content", "Transfer-Encoding: chunked"), want: protocol + "body announced by an answer that cannot have one"}},
	{message: message{name: "101 without Upgrade", raw: req("HTTP/1.1 101 S", "Connection: upgrade"), want: protocol + "switching protocols without naming one"}},
	{message: message{name: "101 without Connection", raw: req("HTTP/1.1 101 S", "Upgrade: x"), want: protocol + "switching protocols without naming one"}},
	{message: message{name: "Connection names Set-Cookie", raw: ok("Connection: set-cookie"), want: protocol + "Connection names a field that belongs to the whole path"}},
}

func describeAnswer(r *Response) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %s", r.Status, r.Reason)
	describeFraming(&b, r.Minor, r.KeepAlive, r.Body, r.Length)
	describeFields(&b, &r.Head, r.Upgrade)
	return b.String()
}

func (a *answer) parse(t *testing.T, r *Response) string {
	t.Helper()
	n, err := r.Parse([]byte(a.raw), a.limits(), a.to())
	return outcome(t, n, err, func() string { return describeAnswer(r) })
}

func (a *answer) to() []byte {
	if a.method == "" {
		return []byte("GET")
	}
	return []byte(a.method)
}

func TestResponse(t *testing.T) {
	var reused Response
	for _, a := range answers {
		t.Run(a.name, func(t *testing.T) {
			reused.Reset()
			for _, r := range []*Response{{}, &reused} {
				if got := a.parse(t, r); got != a.want {
					t.Errorf("%q\n got %q\nwant %q", a.raw, got, a.want)
				}
			}
		})
	}
}
