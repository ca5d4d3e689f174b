package http1

import (
	"bytes"
	"testing"
)

// FuzzRequest checks that a request parses alike whole and in pieces, that net/http
// agrees or a table says why not, and that what is forwarded is read as it was read here.
func FuzzRequest(f *testing.F) {
	for _, m := range requests {
		f.Add([]byte(m.raw), 5)
	}
	for _, b := range bodies {
		f.Add([]byte(post("Transfer-Encoding: chunked")+b.raw), 50)
	}
	f.Add([]byte(post("Content-Length: 5")+"hello"), 50)
	f.Fuzz(func(t *testing.T, raw []byte, cut int) {
		for _, lim := range []*Limits{&small, &lenient} {
			want, _ := parseRequest(t, string(raw), lim)
			if cut < 0 || cut > len(raw) {
				cut = len(raw) / 2
			}
			checkRequestSplit(t, string(raw), lim, want, []int{cut, len(raw)})
		}
		compareRequest(t, raw)
		var r Request
		if n, err := r.Parse(raw, &lenient); n > 0 && err == nil {
			checkForwarded(t, &r)
		}
	})
}

// checkForwarded writes a request as a proxy would and parses it again.
func checkForwarded(t *testing.T, r *Request) {
	t.Helper()
	dst := AppendRequestLine(nil, r.Method, r.Path, r.Query, r.HasQuery)
	if len(r.Host) > 0 {
		dst = AppendField(dst, "Host", r.Authority)
	}
	kept := 0
	for i, f := range r.Fields {
		if !f.Hop && !f.Dropped && f.Known != NameHost {
			dst = r.AppendRaw(dst, i)
			kept++
		}
	}
	if r.Body == BodyChunked {
		dst = AppendFieldString(dst, "Transfer-Encoding", "chunked")
		kept++
	}
	dst = append(dst, "\r\n"...)
	if len(r.Host) == 0 {
		return // HTTP/1.0 without Host: the proxy must name one
	}
	var again Request
	n, err := again.Parse(dst, &lenient)
	if n != len(dst) || err != nil {
		t.Fatalf("%q: forwarded: n = %d, error %v", dst, n, err)
	}
	if !bytes.Equal(again.Path, r.Path) || !bytes.Equal(again.Query, r.Query) || again.HasQuery != r.HasQuery ||
		!bytes.Equal(again.Host, r.Host) || again.Body != r.Body || again.Length != r.Length || len(again.Fields) != kept+1 {
		t.Errorf("%q: forwarded: %s, was %s", dst, describe(&again), describe(r))
	}
}

// FuzzResponse does for answers what FuzzRequest does for requests.
func FuzzResponse(f *testing.F) {
	for _, a := range answers {
		f.Add([]byte(a.raw), a.method == "HEAD", 5)
	}
	for _, b := range bodies {
		f.Add([]byte(ok("Transfer-Encoding: chunked")+b.raw), false, 50)
	}
	f.Add([]byte(ok()+"hello"), false, 50)
	f.Fuzz(func(t *testing.T, raw []byte, head bool, cut int) {
		method := "GET"
		if head {
			method = "HEAD"
		}
		if cut < 0 || cut > len(raw) {
			cut = len(raw) / 2
		}
		for _, lim := range []*Limits{&small, &lenient} {
			a := answer{message{raw: string(raw), lim: lim}, method}
			a.want = a.parse(t, new(Response))
			checkResponseSplit(t, &a, []int{cut, len(raw)})
		}
		compareResponse(t, raw, method)
	})
}
