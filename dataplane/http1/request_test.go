package http1

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"weir.dev/weir/model"
)

// small are limits that the tables can exceed with short messages.
var small = Limits{MaxHead: 400, MaxLine: 120, MaxFields: 8}

// message is a row of a table of raw messages. want is what describe says of it, or the
// refusal's status and reason; empty for a head that is not complete.
type message struct {
	name, raw, want string
	lim             *Limits // nil: small
}

func (m *message) limits() *Limits {
	if m.lim != nil {
		return m.lim
	}
	return &small
}

// req completes a request line and fields with CRLFs and an empty line.
func req(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" }

// get is a GET for / with the given fields behind a Host.
func get(fields ...string) string {
	return req(append([]string{"GET / HTTP/1.1", "Host: a"}, fields...)...)
}

// post is a POST for / with the given fields behind a Host.
func post(fields ...string) string {
	return req(append([]string{"POST / HTTP/1.1", "Host: a"}, fields...)...)
}

func target(t string) string { return req("GET "+t+" HTTP/1.1", "Host: a") }

func host(h string) string { return req("GET / HTTP/1.1", "Host: "+h) }

// accepted is what describe says of a plain request for the host a.
const accepted = "GET / host=a"

var requests = []message{
	// Legal.
	{name: "plain", raw: get(), want: accepted},
	{name: "incomplete", raw: "GET / HTTP/1.1\r\nHost: a\r\n", want: ""},
	{name: "incomplete line", raw: "GET / HT", want: ""},
	{name: "nothing", raw: "", want: ""},
	{name: "rest of the buffer is left alone", raw: get() + "GET /next", want: accepted},
	{name: "HTTP/1.0 without Host", raw: req("GET / HTTP/1.0"), want: "GET / host= minor=0 close"},
	{name: "HTTP/1.0 keep-alive", raw: req("GET / HTTP/1.0", "Host: a", "Connection: Keep-Alive"), want: "GET / host=a minor=0 hop=Connection"},
	{name: "close", raw: get("Connection: close"), want: accepted + " close hop=Connection"},
	{name: "close wins over keep-alive", raw: get("Connection: keep-alive, CLOSE"), want: accepted + " close hop=Connection"},
	{name: "empty options", raw: get("Connection: , ,close,"), want: accepted + " close hop=Connection"},
	{name: "one empty line first", raw: "\r\n" + get(), want: accepted},
	{name: "any method", raw: req("M-SEARCH / HTTP/1.1", "Host: a"), want: "M-SEARCH / host=a"},
	{name: "lower-case method is another method", raw: req("get / HTTP/1.1", "Host: a"), want: "get / host=a"},
	{name: "value's white space", raw: get("X:\t a b \t "), want: accepted + " X=a b"},
	{name: "empty value", raw: get("X:"), want: accepted + " X="},
	{name: "white value", raw: get("X:  "), want: accepted + " X="},
	{name: "tab in a value", raw: get("X: a\tb"), want: accepted + " X=a\tb"},
	{name: "obs-text", raw: get("X: caf\xe9"), want: accepted + " X=caf\xe9"},
	{name: "length", raw: post("Content-Length: 5"), want: "POST / host=a length=5 Content-Length=5"},
	{name: "length 0", raw: post("Content-Length: 0"), want: "POST / host=a Content-Length=0"},
	{name: "leading zeros of a length", raw: post("Content-Length: 007"), want: "POST / host=a length=7 Content-Length=007"},
	{name: "largest length", raw: post("Content-Length: 9223372036854775807"), want: "POST / host=a length=9223372036854775807 Content-Length=9223372036854775807"},
	{name: "chunked", raw: post("Transfer-Encoding: chunked"), want: "POST / host=a chunked hop=Transfer-Encoding"},
	{name: "chunked in capitals", raw: post("transfer-encoding: CHUNKED"), want: "POST / host=a chunked hop=transfer-encoding"},
	{name: "GET with a body", raw: get("Content-Length: 3"), want: accepted + " length=3 Content-Length=3"},
	{name: "expect", raw: post("Content-Length: 5", "Expect: 100-Continue"), want: "POST / host=a length=5 continue Content-Length=5 Expect=100-Continue"},
	{name: "expect without a body", raw: get("Expect: 100-continue"), want: accepted + " Expect=100-continue"},
	{name: "expect in HTTP/1.0", raw: req("POST / HTTP/1.0", "Host: a", "Content-Length: 5", "Expect: 100-continue"), want: "POST / host=a minor=0 close length=5 Content-Length=5 Expect=100-continue"},
	{name: "unknown expectation", raw: post("Content-Length: 5", "Expect: tea"), want: "POST / host=a length=5 Content-Length=5 Expect=tea"},
	{name: "upgrade", raw: get("Connection: Upgrade", "Upgrade: websocket"), want: accepted + " upgrade=websocket hop=Connection hop=Upgrade"},
	{name: "upgrade without a value", raw: get("Connection: upgrade ,x", "Upgrade:"), want: accepted + " hop=Connection hop=Upgrade"},
	{name: "upgrade that Connection does not name", raw: get("Upgrade: websocket"), want: accepted + " hop=Upgrade"},
	{name: "upgrade in HTTP/1.0", raw: req("GET / HTTP/1.0", "Connection: upgrade", "Upgrade: x"), want: "GET / host= minor=0 close hop=Connection hop=Upgrade"},
	{name: "hop-by-hop", raw: get("TE: trailers", "Keep-Alive: 5", "Proxy-Connection: close", "Proxy-Authorization: x"), want: accepted + " hop=TE hop=Keep-Alive hop=Proxy-Connection hop=Proxy-Authorization"},
	{name: "Trailer is end to end", raw: get("Trailer: x"), want: accepted + " Trailer=x"},
	{name: "Connection names a field", raw: get("x-foo: 1", "Connection: X-Foo, TE", "X-FOO: 2"), want: accepted + " hop=x-foo hop=Connection hop=X-FOO"},
	{name: "TRACE", raw: req("TRACE / HTTP/1.1", "Host: a", "Content-Length: 0"), want: "TRACE / host=a Content-Length=0"},
	{name: "OPTIONS *", raw: req("OPTIONS * HTTP/1.1", "Host: a"), want: "OPTIONS * host=a"},
	{name: "OPTIONS for a URI without path", raw: req("OPTIONS http://a HTTP/1.1", "Host: a"), want: "OPTIONS * host=a"},
	{name: "OPTIONS for a URI with a path", raw: req("OPTIONS http://a/ HTTP/1.1", "Host: a"), want: "OPTIONS / host=a"},
	{name: "query", raw: target("/p?a=%zz&b=[]|\"<>"), want: "GET /p?a=%zz&b=[]|\"<> host=a"},
	{name: "empty query", raw: target("/p?"), want: "GET /p? host=a"},
	{name: "two question marks", raw: target("/?a?b"), want: "GET /?a?b host=a"},
	{name: "dots in a query", raw: target("/p?/../x"), want: "GET /p?/../x host=a"},
	{name: "path that is not normal", raw: target("//a/./b/..//%7e%c3%a9|"), want: "GET /a/~%C3%A9%7C host=a"},
	{name: "escaped slash kept", raw: target("/a%2fb"), want: "GET /a%2Fb host=a", lim: &Limits{Escapes: model.EscapeKeep}},
	{name: "absolute form", raw: req("GET HTTP://A/p?q HTTP/1.1", "Host: a"), want: "GET /p?q host=a"},
	{name: "absolute form without path", raw: req("GET http://a HTTP/1.1", "Host: a"), want: accepted},
	{name: "absolute form with a query only", raw: req("GET http://a?q HTTP/1.1", "Host: a"), want: "GET /?q host=a"},
	{name: "absolute form with the scheme's port", raw: req("GET http://a:80/ HTTP/1.1", "Host: a"), want: accepted + " authority=a:80"},
	{name: "absolute form without the scheme's port", raw: req("GET https://a/ HTTP/1.1", "Host: a:443"), want: accepted},
	{name: "absolute form with a port", raw: req("GET http://a:81/ HTTP/1.1", "Host: A:81"), want: accepted + " authority=a:81"},
	{name: "absolute form in HTTP/1.0 without Host", raw: req("GET http://a:81/ HTTP/1.0"), want: "GET / host=a authority=a:81 minor=0 close"},
	{name: "host and port", raw: host("eXample.com:8080"), want: "GET / host=example.com authority=eXample.com:8080"},
	{name: "final dot of a host", raw: host("example.com."), want: "GET / host=example.com authority=example.com."},
	{name: "IPv6 host", raw: host("[::1]:80"), want: "GET / host=[::1] authority=[::1]:80"},
	{name: "IPv6 host in capitals", raw: host("[FE80::1.2.3.4]"), want: "GET / host=[fe80::1.2.3.4]"},
	{name: "underscore kept", raw: get("x_y: 1"), want: accepted + " x_y=1", lim: &Limits{Underscores: model.NameKeep}},
	{name: "underscore dropped", raw: get("x_y: 1", "x-y: 2"), want: accepted + " dropped=x_y x-y=2", lim: &Limits{Underscores: model.NameDrop}},
	{name: "as many fields as allowed", raw: get("A: 1", "B: 1", "C: 1", "D: 1", "E: 1", "F: 1", "G: 1"), want: accepted + " A=1 B=1 C=1 D=1 E=1 F=1 G=1"},
	{name: "longest line", raw: target("/" + strings.Repeat("a", 106)), want: "GET /" + strings.Repeat("a", 106) + " host=a"},

	// Request lines.
	{name: "two empty lines first", raw: "\r\n\r\n" + get(), want: "400 empty line instead of a request line"},
	{name: "LF first", raw: "\n" + get(), want: "400 line feed without carriage return"},
	{name: "CR first", raw: "\rX", want: "400 carriage return without line feed"},
	{name: "TLS", raw: "\x16\x03\x01", want: "400 not a request line"},
	{name: "space first", raw: " " + get(), want: "400 not a request line"},
	{name: "HTTP/0.9", raw: "GET /\r\n", want: "400 malformed request line"},
	{name: "HTTP/1.1 in lower case", raw: req("GET / http/1.1", "Host: a"), want: "400 malformed HTTP version"},
	{name: "HTTP/1", raw: req("GET / HTTP/1", "Host: a"), want: "400 malformed HTTP version"},
	{name: "HTTP/01.1", raw: req("GET / HTTP/01.1", "Host: a"), want: "400 malformed HTTP version"},
	{name: "HTTP/1.2", raw: req("GET / HTTP/1.2", "Host: a"), want: "505 HTTP version is neither 1.0 nor 1.1"},
	{name: "HTTP/2 preface", raw: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", want: "505 HTTP version is neither 1.0 nor 1.1"},
	{name: "two spaces after the method", raw: req("GET  / HTTP/1.1", "Host: a"), want: "400 bad character in the request target"},
	{name: "two spaces before the version", raw: req("GET /  HTTP/1.1", "Host: a"), want: "400 bad character in the request target"},
	{name: "space at the end", raw: req("GET / HTTP/1.1 ", "Host: a"), want: "400 malformed HTTP version"},
	{name: "tab", raw: req("GET\t/ HTTP/1.1", "Host: a"), want: "400 malformed request line"},
	{name: "no target", raw: req("GET HTTP/1.1", "Host: a"), want: "400 malformed request line"},
	{name: "empty target", raw: req("GET  HTTP/1.1", "Host: a"), want: "400 malformed request line"},
	{name: "bare LF after the request line", raw: "GET / HTTP/1.1\nHost: a\r\n\r\n", want: "400 line feed without carriage return"},
	{name: "bare CR in the request line", raw: req("GET /\rX HTTP/1.1", "Host: a"), want: "400 carriage return without line feed"},
	{name: "CR CR LF", raw: "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", want: "400 carriage return without line feed"},
	{name: "bad byte in the method", raw: req("G(T / HTTP/1.1", "Host: a"), want: "400 malformed request line"},
	{name: "long method", raw: req(strings.Repeat("M", 33)+" / HTTP/1.1", "Host: a"), want: "501 method too long"},
	{name: "CONNECT", raw: req("CONNECT a:443 HTTP/1.1", "Host: a"), want: "501 CONNECT is not supported"},
	{name: "long line", raw: target("/" + strings.Repeat("a", 107)), want: "414 request line too long"},
	{name: "long line without an end", raw: "GET /" + strings.Repeat("a", 117), want: "414 request line too long"},

	// Targets.
	{name: "asterisk", raw: target("*"), want: "400 asterisk as target of a method other than OPTIONS"},
	{name: "fragment", raw: target("/a#b"), want: "400 fragment in the request target"},
	{name: "fragment in a query", raw: target("/?a#b"), want: "400 fragment in the request target"},
	{name: "not ASCII", raw: target("/caf\xc3\xa9"), want: "400 bad character in the request target"},
	{name: "NUL", raw: target("/\x00"), want: "400 bad character in the request target"},
	{name: "DEL in a query", raw: target("/?\x7f"), want: "400 bad character in the request target"},
	{name: "space in a query", raw: target("/?a b"), want: "400 bad character in the request target"},
	{name: "relative", raw: target("a/b"), want: "400 request target is neither a path nor an http URI"},
	{name: "authority form", raw: target("a:80"), want: "400 request target is neither a path nor an http URI"},
	{name: "other scheme", raw: target("ftp://a/"), want: "400 request target is neither a path nor an http URI"},
	{name: "scheme without authority", raw: target("http:/a"), want: "400 request target is neither a path nor an http URI"},
	{name: "empty authority", raw: target("http:///a"), want: "400 malformed host"},
	{name: "userinfo", raw: target("http://u@a/"), want: "400 user information in the authority"},
	{name: "userinfo with password", raw: target("http://u:p@a/"), want: "400 user information in the authority"},
	{name: "target against Host", raw: target("http://b/"), want: "400 the target's authority and Host disagree"},
	{name: "target's port against Host", raw: target("http://a:81/"), want: "400 the target's authority and Host disagree"},
	{name: "target's final dot against Host", raw: target("http://a./"), want: "400 the target's authority and Host disagree"},
	{name: "scheme's port against Host", raw: req("GET https://a/ HTTP/1.1", "Host: a:80"), want: "400 the target's authority and Host disagree"},
	{name: "backslash", raw: target("/a\\b"), want: "400 backslash in the path"},
	{name: "bad escape", raw: target("/%2"), want: "400 malformed escape in the path"},
	{name: "escape that is not hexadecimal", raw: target("/%g0"), want: "400 malformed escape in the path"},
	{name: "escaped NUL", raw: target("/%00"), want: "400 escaped NUL in the path"},
	{name: "escaped NUL whatever the policy", raw: target("/%00"), want: "400 escaped NUL in the path", lim: &Limits{Escapes: model.EscapeKeep}},
	{name: "escaped slash", raw: target("/a%2Fb"), want: "400 escaped slash or backslash in the path"},
	{name: "escaped backslash", raw: target("/a%5cb"), want: "400 escaped slash or backslash in the path"},
	{name: "above the root", raw: target("/a/../.."), want: "400 dot segments lead above the root"},
	{name: "above the root, escaped", raw: target("/%2E%2e/"), want: "400 dot segments lead above the root"},
	{name: "dots beside an escaped slash", raw: target("/a/..%2Fb"), want: "400 dot segment beside an escaped slash or backslash", lim: &Limits{Escapes: model.EscapeKeep}},

	// Hosts.
	{name: "no Host", raw: req("GET / HTTP/1.1"), want: "400 no Host"},
	{name: "no Host with an absolute form", raw: req("GET http://a/ HTTP/1.1"), want: "400 no Host"},
	{name: "two Hosts", raw: get("Host: b"), want: "400 several Hosts"},
	{name: "two equal Hosts", raw: get("Host: a"), want: "400 several Hosts"},
	{name: "empty Host", raw: host(""), want: "400 malformed host"},
	{name: "list of Hosts", raw: host("a, b"), want: "400 malformed host"},
	{name: "space in Host", raw: host("a b"), want: "400 malformed host"},
	{name: "slash in Host", raw: host("a/b"), want: "400 malformed host"},
	{name: "escape in Host", raw: host("%61"), want: "400 malformed host"},
	{name: "not ASCII in Host", raw: host("caf\xc3\xa9"), want: "400 malformed host"},
	{name: "empty label", raw: host("a..b"), want: "400 malformed host"},
	{name: "dot", raw: host("."), want: "400 malformed host"},
	{name: "userinfo in Host", raw: host("u@a"), want: "400 user information in the authority"},
	{name: "userinfo and password in Host", raw: host("u:p@a"), want: "400 user information in the authority"},
	{name: "empty port", raw: host("a:"), want: "400 malformed port"},
	{name: "port 0", raw: host("a:0"), want: "400 malformed port"},
	{name: "port with zeros", raw: host("a:080"), want: "400 malformed port"},
	{name: "high port", raw: host("a:65536"), want: "400 malformed port"},
	{name: "port with a sign", raw: host("a:+80"), want: "400 malformed port"},
	{name: "two ports", raw: host("a:80:80"), want: "400 malformed port"},
	{name: "open bracket", raw: host("[::1"), want: "400 malformed IPv6 literal"},
	{name: "empty brackets", raw: host("[]"), want: "400 malformed IPv6 literal"},
	{name: "name in brackets", raw: host("[a.b]"), want: "400 malformed IPv6 literal"},
	{name: "zone", raw: host("[fe80::1%25eth0]"), want: "400 malformed IPv6 literal"},
	{name: "IPv6 without brackets", raw: host("::1"), want: "400 malformed host"},
	{name: "text behind brackets", raw: host("[::1]a"), want: "400 malformed port"},

	// Fields.
	{name: "bare LF in a field", raw: "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", want: "400 line feed without carriage return"},
	{name: "bare LF at the end", raw: "GET / HTTP/1.1\r\nHost: a\r\n\n", want: "400 line feed without carriage return"},
	{name: "bare CR in a value", raw: get("X: a\rb"), want: "400 carriage return without line feed"},
	{name: "bare CR in a name", raw: get("X\r: a"), want: "400 carriage return without line feed"},
	{name: "CR before the CRLF", raw: get("X: a\r"), want: "400 carriage return without line feed"},
	{name: "fold", raw: get("X: a", " b"), want: "400 folded header line"},
	{name: "fold with a tab", raw: get("X: a", "\tb"), want: "400 folded header line"},
	{name: "fold of the request line", raw: req("GET / HTTP/1.1", " X: 1", "Host: a"), want: "400 folded header line"},
	{name: "white line", raw: get("X: a", " "), want: "400 folded header line"},
	{name: "space before the colon", raw: get("X : a"), want: "400 space before the colon of a header"},
	{name: "tab before the colon", raw: get("X\t: a"), want: "400 space before the colon of a header"},
	{name: "space in a name", raw: get("X Y: a"), want: "400 space before the colon of a header"},
	{name: "no colon", raw: get("X"), want: "400 header line without a colon"},
	{name: "empty name", raw: get(": a"), want: "400 empty header name"},
	{name: "bad name", raw: get("X(: a"), want: "400 bad character in a header name"},
	{name: "NUL in a name", raw: get("X\x00: a"), want: "400 bad character in a header name"},
	{name: "not ASCII in a name", raw: get("caf\xe9: a"), want: "400 bad character in a header name"},
	{name: "NUL in a value", raw: get("X: a\x00b"), want: "400 control character in a header value"},
	{name: "DEL in a value", raw: get("X: 12345678\x7f9"), want: "400 control character in a header value"},
	{name: "control in a long value", raw: get("X: 0123456789\x0b0123456789"), want: "400 control character in a header value"},
	{name: "vertical tab before a value", raw: get("Transfer-Encoding:\x0bchunked"), want: "400 control character in a header value"},
	{name: "underscore", raw: get("x_y: 1"), want: "400 underscore in a header name"},
	{name: "many fields", raw: get("A: 1", "B: 1", "C: 1", "D: 1", "E: 1", "F: 1", "G: 1", "H: 1"), want: "431 too many header fields"},
	{name: "long head", raw: get("X: " + strings.Repeat("x", 400)), want: "431 head too large"},
	{name: "long head without an end", raw: "GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 382), want: "431 head too large"},

	// Framing.
	{name: "length and chunked", raw: post("Content-Length: 5", "Transfer-Encoding: chunked"), want: "400 both Content-Length and Transfer-Encoding"},
	{name: "chunked and length", raw: post("Transfer-Encoding: chunked", "Content-Length: 5"), want: "400 both Content-Length and Transfer-Encoding"},
	{name: "length 0 and chunked", raw: post("Content-Length: 0", "Transfer-Encoding: chunked"), want: "400 both Content-Length and Transfer-Encoding"},
	{name: "two lengths", raw: post("Content-Length: 5", "Content-Length: 6"), want: "400 several Content-Lengths"},
	{name: "two equal lengths", raw: post("Content-Length: 5", "content-length: 5"), want: "400 several Content-Lengths"},
	{name: "list of lengths", raw: post("Content-Length: 5, 5"), want: "400 malformed Content-Length"},
	{name: "empty length", raw: post("Content-Length:"), want: "400 malformed Content-Length"},
	{name: "plus", raw: post("Content-Length: +5"), want: "400 malformed Content-Length"},
	{name: "minus", raw: post("Content-Length: -0"), want: "400 malformed Content-Length"},
	{name: "hexadecimal length", raw: post("Content-Length: 0x5"), want: "400 malformed Content-Length"},
	{name: "space in a length", raw: post("Content-Length: 5 5"), want: "400 malformed Content-Length"},
	{name: "underscore in a length", raw: post("Content-Length: 1_0"), want: "400 malformed Content-Length"},
	{name: "length too large", raw: post("Content-Length: 9223372036854775808"), want: "400 malformed Content-Length"},
	{name: "length too long", raw: post("Content-Length: 18446744073709551621"), want: "400 malformed Content-Length"},
	{name: "length in HTTP/1.0 with chunked", raw: req("POST / HTTP/1.0", "Content-Length: 5", "Transfer-Encoding: chunked"), want: "400 both Content-Length and Transfer-Encoding"},
	{name: "chunked in HTTP/1.0", raw: req("POST / HTTP/1.0", "Transfer-Encoding: chunked"), want: "400 Transfer-Encoding in HTTP/1.0"},
	{name: "two codings fields", raw: post("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), want: "400 several Transfer-Encodings"},
	{name: "gzip in another field", raw: post("Transfer-Encoding: gzip", "Transfer-Encoding: chunked"), want: "400 several Transfer-Encodings"},
	{name: "chunked twice", raw: post("Transfer-Encoding: chunked, chunked"), want: "400 malformed Transfer-Encoding"},
	{name: "empty coding", raw: post("Transfer-Encoding:"), want: "400 malformed Transfer-Encoding"},
	{name: "empty element", raw: post("Transfer-Encoding: chunked,"), want: "400 malformed Transfer-Encoding"},
	{name: "empty first element", raw: post("Transfer-Encoding: ,chunked"), want: "400 malformed Transfer-Encoding"},
	{name: "coding with a parameter", raw: post("Transfer-Encoding: chunked;q=1"), want: "400 malformed Transfer-Encoding"},
	{name: "quoted coding", raw: post("Transfer-Encoding: \"chunked\""), want: "400 malformed Transfer-Encoding"},
	{name: "coding with a space", raw: post("Transfer-Encoding: chunked x"), want: "400 malformed Transfer-Encoding"},
	{name: "gzip", raw: post("Transfer-Encoding: gzip"), want: "501 transfer coding other than chunked"},
	{name: "gzip, chunked", raw: post("Transfer-Encoding: gzip, chunked"), want: "501 transfer coding other than chunked"},
	{name: "chunked, identity", raw: post("Transfer-Encoding: chunked, identity"), want: "501 transfer coding other than chunked"},
	{name: "xchunked", raw: post("Transfer-Encoding: xchunked"), want: "501 transfer coding other than chunked"},
	{name: "TRACE with a length", raw: req("TRACE / HTTP/1.1", "Host: a", "Content-Length: 5"), want: "400 TRACE with a body"},
	{name: "TRACE with chunks", raw: req("TRACE / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked"), want: "400 TRACE with a body"},

	// Connection options.
	{name: "Connection names Host", raw: get("Connection: close, Host"), want: "400 Connection names a field that belongs to the whole path"},
	{name: "Connection names Content-Length", raw: post("Content-Length: 5", "Connection: content-length"), want: "400 Connection names a field that belongs to the whole path"},
	{name: "Connection names X-Forwarded-For", raw: get("Connection: x-forwarded-for"), want: "400 Connection names a field that belongs to the whole path"},
	{name: "Connection names X-Forwarded-Client-Cert", raw: get("Connection: x-forwarded-client-cert"), want: "400 Connection names a field that belongs to the whole path"},
	{name: "Connection names Authorization", raw: get("Connection: authorization"), want: "400 Connection names a field that belongs to the whole path"},
	{name: "Connection names Cookie", raw: get("Connection: Cookie"), want: "400 Connection names a field that belongs to the whole path"},
	{name: "Connection names a header of ours", raw: get("Connection: X-Weir-Priority"), want: "400 Connection names a field that belongs to the whole path"},
	{name: "malformed option", raw: get("Connection: a b"), want: "400 malformed Connection option"},
	{name: "many options", raw: get("Connection: " + strings.Repeat("a,", 33)), want: "400 too many Connection options"},
}

// describe says what a request was found to be.
func describe(r *Request) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", r.Method, r.Path)
	if r.HasQuery {
		fmt.Fprintf(&b, "?%s", r.Query)
	}
	fmt.Fprintf(&b, " host=%s", r.Host)
	if !strings.EqualFold(string(r.Authority), string(r.Host)) {
		fmt.Fprintf(&b, " authority=%s", r.Authority)
	}
	describeFraming(&b, r.Minor, r.KeepAlive, r.Body, r.Length)
	if r.Continue {
		b.WriteString(" continue")
	}
	describeFields(&b, &r.Head, r.Upgrade)
	return b.String()
}

func describeFraming(b *strings.Builder, minor int, keepAlive bool, body Body, length int64) {
	if minor != 1 {
		fmt.Fprintf(b, " minor=%d", minor)
	}
	if !keepAlive {
		b.WriteString(" close")
	}
	switch {
	case body == BodyLength:
		fmt.Fprintf(b, " length=%d", length)
	case length != 0:
		fmt.Fprintf(b, " LENGTH WITHOUT BODY=%d", length)
	case body != BodyNone:
		fmt.Fprintf(b, " %s", body)
	}
}

func describeFields(b *strings.Builder, h *Head, upgrade []byte) {
	if upgrade != nil {
		fmt.Fprintf(b, " upgrade=%s", upgrade)
	}
	for i, f := range h.Fields {
		switch {
		case f.Dropped:
			fmt.Fprintf(b, " dropped=%s", h.Name(i))
		case f.Hop:
			fmt.Fprintf(b, " hop=%s", h.Name(i))
		case f.Known != NameHost:
			fmt.Fprintf(b, " %s=%s", h.Name(i), h.Value(i))
		}
	}
}

// outcome turns what Parse returned into a table's want.
func outcome(t *testing.T, n int, err error, describe func() string) string {
	t.Helper()
	if err != nil {
		var fault *Error
		if !errors.As(err, &fault) {
			t.Fatalf("error %v is a %T", err, err)
		}
		if n != 0 {
			t.Errorf("n = %d with error %v", n, err)
		}
		return fmt.Sprintf("%d %s", fault.Status, fault.Reason)
	}
	if n == 0 {
		return ""
	}
	return describe()
}

func parseRequest(t *testing.T, raw string, lim *Limits) (string, int) {
	t.Helper()
	var r Request
	n, err := r.Parse([]byte(raw), lim)
	return outcome(t, n, err, func() string { return describe(&r) }), n
}

func TestRequest(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range requests {
		t.Run(m.name, func(t *testing.T) {
			if seen[m.name] {
				t.Error("two rows of this name")
			}
			seen[m.name] = true
			got, n := parseRequest(t, m.raw, m.limits())
			if got != m.want {
				t.Errorf("%q\n got %q\nwant %q", m.raw, got, m.want)
			}
			if n > 0 && !strings.HasSuffix(m.raw[:n], "\r\n\r\n") {
				t.Errorf("n = %d: not the end of the head", n)
			}
		})
	}
}

func TestRequestReset(t *testing.T) {
	var r Request
	for _, m := range requests {
		r.Reset()
		n, err := r.Parse([]byte(m.raw), m.limits())
		if got := outcome(t, n, err, func() string { return describe(&r) }); got != m.want {
			t.Errorf("%s: reused: got %q, want %q", m.name, got, m.want)
		}
	}
}
