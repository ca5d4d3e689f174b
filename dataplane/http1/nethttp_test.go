package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"testing"

	"weir.dev/weir/model"
)

// lenient are the limits for the comparison with net/http, which has no such policies.
var lenient = Limits{Underscores: model.NameKeep, Escapes: model.EscapeKeep}

// stricter says why a message is refused that net/http accepts. What is refused for
// another reason must be refused by net/http as well.
var stricter = map[*Error]string{
	errBareLF:        "net/http takes a lone LF for a line's end; RFC 9112 2.2 allows that, but hops that differ can be played against each other",
	errFold:          "net/http unfolds continuation lines; RFC 9112 5.2 wants 400 or that, and an upstream may do neither",
	errNotOne:        "net/http parses any HTTP version, its server refuses later",
	errMethodLong:    "net/http does not bound methods",
	errConnect:       "net/http parses CONNECT, handlers decide",
	errTarget:        "net/http leaves non-ASCII bytes and DEL in targets to url.Parse",
	errFragment:      "net/http takes # for a part of the path",
	errForm:          "net/http accepts every URI",
	errAsterisk:      "net/http accepts * with every method",
	errBackslash:     "net/http accepts backslashes in paths",
	errEscapedNUL:    "net/http decodes %00",
	errDotEscape:     "net/http leaves dot segments alone",
	errAboveRoot:     "net/http leaves dot segments alone",
	errNoHost:        "net/http's server checks for Host only after ReadRequest",
	errHost:          "net/http's server checks Host only after ReadRequest, and loosely",
	errUserinfo:      "net/http accepts user information in targets",
	errPort:          "net/http accepts empty and large ports",
	errIPv6:          "net/http accepts zones",
	errHostDisagree:  "net/http has the target win over Host, as RFC 9112 3.2.2 says of origin servers",
	errLengths:       "net/http accepts equal lengths",
	errLengthCoding:  "net/http has Transfer-Encoding win over Content-Length",
	errCodingOld:     "net/http ignores Transfer-Encoding in HTTP/1.0",
	errTraceBody:     "net/http leaves TRACE to handlers",
	errOption:        "net/http does not check Connection options",
	errOptions:       "net/http does not bound Connection options",
	errOptionPinned:  "net/http does not act on Connection options",
	errTooMany:       "net/http bounds the head in bytes only",
	errStatusLine:    "net/http skips white space around a status",
	errStatus:        "net/http accepts every number as a status",
	errReasonBytes:   "net/http does not check the reason phrase",
	errNoContent:     "net/http ignores what 1xx and 204 announce",
	errSwitch:        "net/http's transport checks 101 later",
	errSpaceInName:   "net/http keeps names with spaces",
	errChunkExt:      "net/http skips chunk extensions",
	errChunkSize:     "net/http skips white space behind a chunk size",
	errTrailerFields: "net/http drops forbidden trailers",
	errTrailerMany:   "net/http bounds trailers in bytes only",
	errUnderscore:    "net/http has no policy for underscores",
}

// laxer says whether a request may be accepted that net/http refuses: RFC 9112 2.2 has
// servers skip an empty line before the request line, and ReadRequest does not.
func laxer(raw []byte) bool { return bytes.HasPrefix(raw, []byte("\r\n")) }

// refused checks that net/http refuses what Weir refuses, or that the table says why not.
func refused(t *testing.T, raw []byte, fault *Error, theirErr error) *Error {
	t.Helper()
	if theirErr != nil {
		return nil
	}
	for f := range stricter {
		if f == fault || f.upstream == fault {
			return f
		}
	}
	t.Errorf("%q: refused (%v), net/http accepts", raw, fault)
	return nil
}

// compareRequest parses a request with its body as Weir and as net/http do. It returns
// the reason for which it is refused that net/http accepts, if so.
func compareRequest(t *testing.T, raw []byte) *Error {
	t.Helper()
	var r Request
	n, err := r.Parse(raw, &lenient)
	theirs, theirErr := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
	var body []byte
	if err == nil && n > 0 {
		body, err = ourBody(raw[n:], r.Body, r.Length)
	}
	var theirBody []byte
	if theirErr == nil {
		theirBody, theirErr = io.ReadAll(theirs.Body)
	}
	var fault *Error
	switch {
	case errors.As(err, &fault):
		return refused(t, raw, fault, theirErr)
	case n == 0 || err != nil:
		if theirErr == nil {
			t.Errorf("%q: incomplete, net/http accepts", raw)
		}
		return nil
	case theirErr != nil:
		if !laxer(raw) {
			t.Errorf("%q: accepted as %s, net/http: %v", raw, describe(&r), theirErr)
		}
		return nil
	}
	if string(r.Method) != theirs.Method || string(r.Target) != theirs.RequestURI || r.Minor != theirs.ProtoMinor {
		t.Errorf("%q: %s %s %d, net/http: %s %s %d", raw, r.Method, r.Target, r.Minor, theirs.Method, theirs.RequestURI, theirs.ProtoMinor)
	}
	if string(r.Authority) != theirs.Host {
		t.Errorf("%q: authority %q, net/http: %q", raw, r.Authority, theirs.Host)
	}
	if r.KeepAlive == theirs.Close {
		t.Errorf("%q: keep alive %v, net/http: close %v", raw, r.KeepAlive, theirs.Close)
	}
	if r.Body == BodyLength && r.Length != theirs.ContentLength || (r.Body == BodyChunked) != slices.Equal(theirs.TransferEncoding, []string{"chunked"}) {
		t.Errorf("%q: body %v %d, net/http: %v %d", raw, r.Body, r.Length, theirs.TransferEncoding, theirs.ContentLength)
	}
	if !bytes.Equal(body, theirBody) {
		t.Errorf("%q: body %q, net/http: %q", raw, body, theirBody)
	}
	compareFields(t, raw, &r.Head, theirs.Header)
	return nil
}

// compareFields compares all fields but those that net/http takes out of the header.
func compareFields(t *testing.T, raw []byte, h *Head, theirs http.Header) {
	t.Helper()
	ours := http.Header{}
	for i := range h.Fields {
		ours.Add(textproto.CanonicalMIMEHeaderKey(string(h.Name(i))), string(h.Value(i)))
	}
	for _, name := range []string{"Host", "Transfer-Encoding", "Content-Length", "Trailer", "Connection", "Pragma", "Cache-Control"} {
		ours.Del(name)
		theirs.Del(name)
	}
	for name, values := range ours {
		if !slices.Equal(values, theirs[name]) {
			t.Errorf("%q: %s: %q, net/http: %q", raw, name, values, theirs[name])
		}
	}
	if len(ours) != len(theirs) {
		t.Errorf("%q: %v, net/http: %v", raw, ours, theirs)
	}
}

// ourBody decodes a body. io.ErrUnexpectedEOF: it is not complete.
func ourBody(rest []byte, body Body, length int64) ([]byte, error) {
	switch body {
	case BodyLength:
		if int64(len(rest)) < length {
			return rest, io.ErrUnexpectedEOF
		}
		return rest[:length], nil
	case BodyUntilClose:
		return rest, nil
	case BodyChunked:
		var c Chunked
		_, data, done, err := next(&c, rest, nil)
		if err == nil && !done {
			err = io.ErrUnexpectedEOF
		}
		return data, err
	}
	return nil, nil
}

// compareResponse does for answers what compareRequest does for requests.
func compareResponse(t *testing.T, raw []byte, method string) *Error {
	t.Helper()
	var r Response
	n, err := r.Parse(raw, &lenient, []byte(method))
	theirs, theirErr := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), &http.Request{Method: method})
	var body []byte
	if err == nil && n > 0 {
		body, err = ourBody(raw[n:], r.Body, r.Length)
	}
	var theirBody []byte
	if theirErr == nil {
		theirBody, theirErr = io.ReadAll(theirs.Body)
	}
	var fault *Error
	switch {
	case errors.As(err, &fault):
		return refused(t, raw, fault, theirErr)
	case n == 0 || err != nil:
		if theirErr == nil {
			t.Errorf("%q: incomplete, net/http accepts", raw)
		}
		return nil
	case theirErr != nil:
		t.Errorf("%q: accepted as %s, net/http: %v", raw, describeAnswer(&r), theirErr)
		return nil
	}
	if r.Status != theirs.StatusCode || r.Minor != theirs.ProtoMinor || string(r.Reason) != strings.TrimPrefix(theirs.Status[min(3, len(theirs.Status)):], " ") {
		t.Errorf("%q: %d %q %d, net/http: %q %d", raw, r.Status, r.Reason, r.Minor, theirs.Status, theirs.ProtoMinor)
	}
	if (r.Body == BodyChunked) != slices.Equal(theirs.TransferEncoding, []string{"chunked"}) && r.Body != BodyNone {
		t.Errorf("%q: body %v, net/http: %v", raw, r.Body, theirs.TransferEncoding)
	}
	if !bytes.Equal(body, theirBody) {
		t.Errorf("%q: body %q, net/http: %q", raw, body, theirBody)
	}
	if r.KeepAlive && theirs.Close {
		t.Errorf("%q: kept alive, net/http: close", raw)
	}
	compareFields(t, raw, &r.Head, theirs.Header)
	return nil
}

// complete are whole messages whose only fault is the one that net/http accepts.
var complete = []string{
	post("Content-Length: 5", "Content-Length: 5") + "hello",
	req("TRACE / HTTP/1.1", "Host: a", "Content-Length: 5") + "hello",
	req(append([]string{"GET / HTTP/1.1", "Host: a"}, slices.Repeat([]string{"X: 1"}, 100)...)...),
	post("Transfer-Encoding: chunked") + "1 \r\na\r\n0\r\n\r\n",
	post("Transfer-Encoding: chunked") + "0\r\n" + strings.Repeat("X: 1\r\n", 33) + "\r\n",
}

// Every reason of the table is needed by a message of the other tables.
func TestLikeNetHTTP(t *testing.T) {
	needed := map[*Error]bool{}
	for _, m := range requests {
		needed[compareRequest(t, []byte(m.raw))] = true
	}
	for _, a := range answers {
		needed[compareResponse(t, []byte(a.raw), string(a.to()))] = true
	}
	for _, b := range bodies {
		needed[compareRequest(t, []byte(post("Transfer-Encoding: chunked")+b.raw))] = true
		needed[compareResponse(t, []byte(ok("Transfer-Encoding: chunked")+b.raw), "GET")] = true
	}
	for _, raw := range complete {
		if strings.HasPrefix(raw, "HTTP") {
			needed[compareResponse(t, []byte(raw), "GET")] = true
		} else {
			needed[compareRequest(t, []byte(raw))] = true
		}
	}
	for fault := range stricter {
		if !needed[fault] {
			t.Errorf("%v: no message needs this reason", fault)
		}
	}
}
