package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/model"
)

var allCodings = []model.Coding{model.CodingZstd, model.CodingBrotli, model.CodingGzip}

func TestNegotiate(t *testing.T) {
	for _, test := range []struct {
		accepted, want string
	}{
		{"gzip, deflate, br, zstd", "zstd"},
		{"gzip, deflate, br", "br"},
		{"gzip", "gzip"},
		{"GZip", "gzip"},
		{"x-gzip", "gzip"},
		{"x-gzip;q=0.3, br;q=0.2", "gzip"},
		{"", ""},
		{"identity", ""},
		{"deflate", ""},
		{"gzip;q=0", ""},
		{"gzip;q=0.000", ""},
		{"gzip ; q=0.001", "gzip"},
		{"gzip;Q=1.000", "gzip"},
		{"gzip;q=1, br;q=0.9, zstd;q=0.8", "gzip"},
		{"gzip;q=0.5, br;q=0.5", "br"},
		{"gzip;q=0.5, identity", ""},
		{"gzip;q=0.5, identity;q=0.5", "gzip"},
		{"gzip;q=0.5, identity;q=0.6", ""},
		{"gzip;q=0.5, identity;q=0", "gzip"},
		{"identity;q=0", ""},
		{"*", "zstd"},
		{"*;q=0", ""},
		{"*;q=0.1", "zstd"},
		{"*;q=0, gzip", "gzip"},
		{"*, zstd;q=0", "br"},
		{"*;q=0.5, gzip;q=0.9", "gzip"},
		{"*;q=0.5, identity", ""},
		{"gzip;q=0, gzip", ""}, // the first counts
		{"gzip;q=2", ""},
		{"gzip;q=1.001", ""},
		{"gzip;q=-1", ""},
		{"gzip;q=.5", ""},
		{"gzip;q=0.1234", ""},
		{"gzip;q=abc, br;q=1.", "br"},
		{"gzip;level=1", ""},
		{",, gzip ,", "gzip"},
		{"gzip br", ""},
	} {
		if got := negotiate([]byte(test.accepted), allCodings); string(got) != test.want {
			t.Errorf("%q: %q, want %q", test.accepted, got, test.want)
		}
	}
	if got := negotiate([]byte("zstd, gzip;q=0.1"), allCodings[2:]); got != model.CodingGzip {
		t.Errorf("of gzip alone: %q", got)
	}
}

// FuzzNegotiate compares with a slow and obvious reading of the list.
func FuzzNegotiate(f *testing.F) {
	for _, seed := range []string{"gzip, br;q=0.5", "*;q=0, zstd;q=0.7", "identity;q=0.3,x-gzip", ";,=q", "gzip;q=1.", "br ;\tq=0.25"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, accepted string) {
		weights := map[string]float64{}
		for element := range strings.SplitSeq(accepted, ",") {
			name, rest, weighted := strings.Cut(element, ";")
			name = strings.Trim(asciiLower(name), " \t")
			if _, twice := weights[name]; twice {
				continue
			}
			weights[name] = 1
			if weighted {
				weights[name] = slowWeight(strings.Trim(asciiLower(rest), " \t"))
			}
		}
		weigh := func(names ...string) float64 {
			for _, name := range names {
				if w, ok := weights[name]; ok {
					return w
				}
			}
			return 0
		}
		var want model.Coding
		most := weigh("identity")
		for _, coding := range allCodings {
			names := []string{string(coding), "*"}
			if coding == model.CodingGzip {
				names = []string{"gzip", "x-gzip", "*"}
			}
			if w := weigh(names...); w > 0 && (w > most || w == most && want == "") {
				want, most = coding, w
			}
		}
		if got := negotiate([]byte(accepted), allCodings); got != want {
			t.Errorf("%q: %q, want %q", accepted, got, want)
		}
	})
}

func asciiLower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

func slowWeight(s string) float64 {
	number, ok := strings.CutPrefix(s, "q=")
	if !ok || len(number) == 0 || len(number) > 5 || strings.Trim(number, "0123456789.") != "" ||
		number[0] > '1' || number[0] == '.' || len(number) > 1 && number[1] != '.' {
		return 0
	}
	w, err := strconv.ParseFloat(number, 64)
	if err != nil || w > 1 {
		return 0
	}
	return w
}

func TestMediaTypes(t *testing.T) {
	for _, test := range []struct {
		types []string
		yes   []string
		no    []string
	}{
		{
			[]string{"text/*", "application/json", "*/*+json"},
			[]string{"text/html", "TEXT/Plain; charset=utf-8", "application/json", "application/ld+json", "application/problem+json ; a=b", "x/y+JSON"},
			[]string{"", "text", "text/", "/html", "image/png", "application/jsonp", "text/event-stream", "application/xjson", "text /html"},
		},
		{[]string{"text/event-stream"}, []string{"text/event-stream;charset=utf-8"}, []string{"text/html"}},
		{[]string{"*/*"}, []string{"text/event-stream", "image/png"}, []string{"nonsense"}},
		{[]string{"application/*+xml"}, []string{"application/atom+xml"}, []string{"application/xml", "image/svg+xml"}},
	} {
		c := CompileCompression(&model.Compression{Algorithms: allCodings, Types: test.types}, nil)
		for _, kind := range test.yes {
			if !c.covers([]byte(kind)) {
				t.Errorf("%q does not cover %q", test.types, kind)
			}
		}
		for _, kind := range test.no {
			if c.covers([]byte(kind)) {
				t.Errorf("%q covers %q", test.types, kind)
			}
		}
	}
}

// judged says what becomes of an answer: its coding, and its head's fields afterwards.
func judged(t *testing.T, m *model.Compression, edit *model.HeaderEdit, request, answer string) (coding string, fields []string) {
	t.Helper()
	req, resp := new(http1.Request), new(http1.Response)
	if n, err := req.Parse([]byte(crlf(request)), &http1.Limits{}); n == 0 {
		t.Fatal(request, err)
	}
	if n, err := resp.Parse([]byte(crlf(answer)), &http1.Limits{}, req.Method); n == 0 {
		t.Fatal(answer, err)
	}
	compiled := CompileHeaderEdit(edit)
	c := CompileCompression(m, compiled)
	if c == nil {
		return "", []string{"nil"}
	}
	v := c.Judge(req, resp, false)
	v.Mark(&resp.Head)
	var dst []byte
	for i := range resp.Fields {
		if !resp.Fields[i].Hop && !resp.Fields[i].Dropped && !compiled.Drops(&resp.Head, i) {
			dst = resp.AppendRaw(dst, i)
		}
	}
	dst = v.AppendTo(compiled.AppendTo(dst))
	for line := range strings.SplitSeq(strings.TrimSuffix(string(dst), "\r\n"), "\r\n") {
		fields = append(fields, line)
	}
	return string(v.Coding), fields
}

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

func TestCompressionJudges(t *testing.T) {
	const ask = "GET / HTTP/1.1\nHost: h\nAccept-Encoding: gzip\n"
	const ok = "HTTP/1.1 200 OK\nContent-Type: text/plain\nContent-Length: 2000\n"
	const vary, gzipped = "Vary: Accept-Encoding", "Content-Encoding: gzip"
	for name, test := range map[string]struct {
		request, answer string
		edit            *model.HeaderEdit
		coding          string
		has, hasNot     string // a line of the answer's head
	}{
		"plain":             {ask, ok, nil, "gzip", gzipped, "Content-Length: 2000"},
		"varies":            {ask, ok, nil, "gzip", vary, ""},
		"unknown length":    {ask, "HTTP/1.1 200 OK\nContent-Type: text/plain\n", nil, "gzip", vary, ""},
		"chunked":           {ask, "HTTP/1.1 200 OK\nContent-Type: text/plain\nTransfer-Encoding: chunked\n", nil, "gzip", vary, ""},
		"small":             {ask, "HTTP/1.1 200 OK\nContent-Type: text/plain\nContent-Length: 1023\n", nil, "", "Content-Length: 1023", vary},
		"just large enough": {ask, "HTTP/1.1 200 OK\nContent-Type: text/plain\nContent-Length: 1024\n", nil, "gzip", vary, ""},
		"empty":             {ask, "HTTP/1.1 200 OK\nContent-Type: text/plain\nContent-Length: 0\n", nil, "", "Content-Length: 0", vary},
		"no type":           {ask, "HTTP/1.1 200 OK\nContent-Length: 2000\n", nil, "", "", vary},
		"other type":        {ask, "HTTP/1.1 200 OK\nContent-Length: 2000\nContent-Type: image/png\n", nil, "", "", vary},
		"an error":          {ask, strings.Replace(ok, "200 OK", "503 No", 1), nil, "gzip", vary, ""},
		"a part":            {ask, strings.Replace(ok, "200", "206", 1) + "Content-Range: bytes 0-1999/5000\n", nil, "", "Content-Length: 2000", vary},
		"no such part":      {ask, strings.Replace(ok, "200", "416", 1) + "Content-Range: bytes */5000\n", nil, "", "", vary},
		"no content":        {ask, "HTTP/1.1 204 No\nContent-Type: text/plain\n", nil, "", "", vary},
		"encoded":           {ask, ok + "Content-Encoding: br\n", nil, "", "Content-Encoding: br", vary},
		"no-transform":      {ask, ok + "Cache-Control: public, No-Transform\n", nil, "", "", vary},
		"digest":            {ask, ok + "Repr-Digest: sha-256=:AA==:\n", nil, "", "", vary},
		"not asked for":     {"GET / HTTP/1.1\nHost: h\n", ok, nil, "", vary, gzipped},
		"two lists":         {"GET / HTTP/1.1\nHost: h\nAccept-Encoding: deflate\nAccept-Encoding: gzip\n", ok, nil, "gzip", gzipped, ""},
		"HTTP/1.0":          {strings.Replace(ask, "1.1", "1.0", 1), ok, nil, "", vary, gzipped},
		"HEAD":              {strings.Replace(ask, "GET", "HEAD", 1), ok, nil, "gzip", gzipped, "Content-Length: 2000"},
		"HEAD small":        {strings.Replace(ask, "GET", "HEAD", 1), strings.Replace(ok, "2000", "20", 1), nil, "", "Content-Length: 20", vary},
		"HEAD, no length":   {strings.Replace(ask, "GET", "HEAD", 1), "HTTP/1.1 200 OK\nContent-Type: text/plain\n", nil, "gzip", gzipped, ""},
		"cookie":            {ask + "Cookie: a=b\n", ok, nil, "", vary, gzipped},
		"authorization":     {ask + "Authorization: Basic eA==\n", ok, nil, "", vary, gzipped},
		"sets a cookie":     {ask, ok + "Set-Cookie: a=b\n", nil, "", vary, gzipped},
		"varies already":    {ask, ok + "Vary: Origin, accept-encoding\n", nil, "gzip", "Vary: Origin, accept-encoding", vary},
		"varies by all":     {ask, ok + "Vary: *\n", nil, "gzip", "Vary: *", vary},
		"varies otherwise":  {ask, ok + "Vary: Origin\n", nil, "gzip", vary, ""},
		"vary taken away":   {ask, ok + "Vary: Accept-Encoding\n", &model.HeaderEdit{Remove: []string{"vary"}}, "gzip", vary, ""},
		"strong ETag":       {ask, ok + "ETag: \"a\"\n", nil, "gzip", `ETag: W/"a"`, `ETag: "a"`},
		"weak ETag":         {ask, ok + "ETag: W/\"a\"\n", nil, "gzip", `ETag: W/"a"`, `ETag: W/W/"a"`},
		"ETag stays":        {ask + "Cookie: a=b\n", ok + "ETag: \"a\"\n", nil, "", `ETag: "a"`, `ETag: W/"a"`},
		"ETag taken away":   {ask, ok + "ETag: \"a\"\n", &model.HeaderEdit{Remove: []string{"etag"}}, "gzip", vary, `ETag: W/"a"`},
		"ETag set":          {ask, ok, &model.HeaderEdit{Set: []model.Header{{Name: "etag", Value: `"b"`}}}, "", "nil", ""},
		"ranges":            {ask, ok + "Accept-Ranges: bytes\n", nil, "gzip", vary, "Accept-Ranges: bytes"},
		"ranges stay":       {ask + "Cookie: a=b\n", ok + "Accept-Ranges: bytes\n", nil, "", "Accept-Ranges: bytes", ""},
		"coding set":        {ask, ok, &model.HeaderEdit{Set: []model.Header{{Name: "content-encoding", Value: "x"}}}, "", "nil", ""},
		"type set":          {ask, "HTTP/1.1 200 OK\n", &model.HeaderEdit{Set: []model.Header{{Name: "content-type", Value: "text/css"}}}, "gzip", vary, ""},
		"other type set":    {ask, ok, &model.HeaderEdit{Set: []model.Header{{Name: "content-type", Value: "image/png"}}}, "", "nil", ""},
		"no-transform set":  {ask, ok, &model.HeaderEdit{Add: []model.Header{{Name: "cache-control", Value: "no-transform"}}}, "", "nil", ""},
		"not modified":      {ask + "If-None-Match: \"b\", W/\"a\"\n", "HTTP/1.1 304 Same\nETag: \"a\"\n", nil, "", `ETag: W/"a"`, `ETag: "a"`},
		"varies unmodified": {ask + "If-None-Match: \"a\"\n", "HTTP/1.1 304 Same\nETag: \"a\"\n", nil, "", vary, `ETag: W/"a"`},
		"strong unmodified": {ask + "If-None-Match: \"a\"\n", "HTTP/1.1 304 Same\nETag: \"a\"\n", nil, "", `ETag: "a"`, `ETag: W/"a"`},
		"unmodified image":  {ask, "HTTP/1.1 304 Same\nContent-Type: image/png\nContent-Length: 2000\n", nil, "", "Content-Length: 2000", vary},
	} {
		t.Run(name, func(t *testing.T) {
			m := &model.Compression{Algorithms: allCodings, MinSize: 1024, Types: []string{"text/*"}}
			coding, fields := judged(t, m, test.edit, test.request+"\n", test.answer+"\n")
			if coding != test.coding || test.has != "" && !slices.Contains(fields, test.has) ||
				test.hasNot != "" && slices.Contains(fields, test.hasNot) {
				t.Errorf("coding %q with %q", coding, fields)
			}
			if coding != "" && slices.ContainsFunc(fields, func(f string) bool { return strings.HasPrefix(f, "Content-Length") }) {
				t.Errorf("%q: a length that is not the encoded body's", fields)
			}
			if !slices.Contains(fields, gzipped) && coding != "" {
				t.Errorf("%q does not say how it is encoded", fields)
			}
		})
	}
	for _, secret := range []string{"Cookie: a=b\n", "Authorization: Basic eA==\n"} {
		m := &model.Compression{Algorithms: allCodings, Types: []string{"text/*"}, Credentials: true}
		if coding, _ := judged(t, m, nil, ask+secret+"\n", ok+"Set-Cookie: c=d\n\n"); coding != "gzip" {
			t.Errorf("%q is not compressed in spite of credentials", secret)
		}
	}
}

// decompressed returns what p stands for.
func decompressed(t *testing.T, coding model.Coding, p []byte) []byte {
	t.Helper()
	var r io.Reader
	switch coding {
	case model.CodingZstd:
		d, err := zstd.NewReader(bytes.NewReader(p), zstd.WithDecoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		r = d
	case model.CodingBrotli:
		r = brotli.NewReader(bytes.NewReader(p))
	case model.CodingGzip:
		d, err := gzip.NewReader(bytes.NewReader(p))
		if err != nil {
			t.Fatal(err)
		}
		r = d
	}
	all, err := io.ReadAll(r)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(coding, err)
	}
	return all
}

// TestEncoders uses one set of encoders again and again, also ones that were given back in
// the middle.
func TestEncoders(t *testing.T) {
	var encoders Encoders
	piece := []byte(strings.Repeat("all that is written is read again, ", 40))
	for round := range 6 {
		for _, coding := range allCodings {
			var out, want []byte
			e := encoders.Take(coding, func(p []byte) error { out = append(out, p...); return nil })
			for i := range round * 20 {
				p := append(fmt.Appendf(nil, "%d %d ", round, i*7919), piece...)
				want = append(want, p...)
				if err := e.Write(p); err != nil {
					t.Fatal(err)
				}
				if i%7 == 0 {
					if err := e.Flush(); err != nil {
						t.Fatal(err)
					}
					if got := decompressed(t, coding, out); !bytes.Equal(got, want) {
						t.Fatalf("%s: %d bytes can be decoded after a flush of %d", coding, len(got), len(want))
					}
					size := len(out)
					if err := e.Flush(); err != nil || len(out) != size {
						t.Errorf("%s: a flush of nothing gave %d bytes, %v", coding, len(out)-size, err)
					}
				}
			}
			if round%2 == 0 {
				rest, err := e.Finish()
				if err != nil {
					t.Fatal(err)
				}
				out = append(out, rest...)
				if got := decompressed(t, coding, out); !bytes.Equal(got, want) {
					t.Errorf("%s: %d bytes came back of %d", coding, len(got), len(want))
				}
			}
			encoders.Give(e)
		}
	}
	if n := encoders.used.Load(); n != 0 {
		t.Errorf("%d bytes are held to be in use", n)
	}
}

// TestEncodersPassErrors looks that the client's error ends the answer, and only this one.
func TestEncodersPassErrors(t *testing.T) {
	var encoders Encoders
	gone := errors.New("gone")
	for _, coding := range allCodings {
		e := encoders.Take(coding, func([]byte) error { return gone })
		err := e.Write([]byte("x"))
		if err == nil {
			err = e.Flush()
		}
		if !errors.Is(err, gone) {
			t.Errorf("%s: %v", coding, err)
		}
		encoders.Give(e)
		e = encoders.Take(coding, func([]byte) error { return nil })
		if err := e.Write([]byte("x")); err != nil {
			t.Errorf("%s: the next answer: %v", coding, err)
		}
		if p, err := e.Finish(); err != nil || string(decompressed(t, coding, p)) != "x" {
			t.Errorf("%s: the next answer: %q, %v", coding, p, err)
		}
		encoders.Give(e)
	}
}

// TestEncoderMemory checks the recipes' figures against the heap, and that they bound what is
// in use.
func TestEncoderMemory(t *testing.T) {
	var encoders Encoders
	var mixed bytes.Buffer
	for i := uint32(1); mixed.Len() < 512<<10; i++ {
		fmt.Fprintf(&mixed, "%d %x ", i, i*2654435761)
	}
	for i, recipe := range recipes {
		const count = 4
		var before, after runtime.MemStats
		runtime.GC()
		runtime.GC() // pools keep what is unused for two
		runtime.ReadMemStats(&before)
		var all []*Encoder
		for range count {
			e := encoders.Take(recipe.coding, func([]byte) error { return nil })
			for p := mixed.Bytes(); len(p) > 0; {
				n := min(len(p), 16<<10)
				if err := e.Write(p[:n]); err != nil {
					t.Fatal(err)
				}
				p = p[n:]
			}
			all = append(all, e)
		}
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&after)
		if got := int64(after.HeapAlloc-before.HeapAlloc) / count; got > recipe.memory {
			t.Errorf("%s takes %d KiB, not %d", recipe.coding, got>>10, recipe.memory>>10)
		}
		for _, e := range all {
			encoders.Give(e)
		}
		encoders.used.Store(encoderMemory - 2*recipe.memory)
		first, second := encoders.Take(recipe.coding, nil), encoders.Take(recipe.coding, nil)
		if first == nil || second == nil || encoders.Take(recipe.coding, nil) != nil {
			t.Errorf("%s: not bounded", recipe.coding)
		}
		encoders.Give(first)
		if encoders.Take(recipe.coding, nil) == nil {
			t.Errorf("%s: what was given back is not lent again", recipe.coding)
		}
		encoders.used.Store(0)
		encoders.pools[i].Get()
	}
	if encoders.Take("deflate", nil) != nil {
		t.Error("an encoder for a coding that there is none for")
	}
}

// BenchmarkEncoders measures the recipes on an answer that comes in pieces of 15 KiB.
func BenchmarkEncoders(b *testing.B) {
	var page bytes.Buffer
	for i := range 300 {
		fmt.Fprintf(&page, `{"id":%d,"sku":"%08x","name":"Item %d","price":%d.%02d,"tags":["red","sale-%d"]},`, i, uint32(i)*2654435761, i, i*37%200, i*61%100, i%9)
	}
	for _, recipe := range recipes {
		b.Run(recipe.coding.String(), func(b *testing.B) {
			var encoders Encoders
			b.SetBytes(int64(page.Len()))
			b.ReportAllocs()
			size := 0
			for b.Loop() {
				size = 0
				e := encoders.Take(recipe.coding, func(p []byte) error { size += len(p); return nil })
				for p := page.Bytes(); len(p) > 0; {
					n := min(len(p), 15<<10)
					_ = e.Write(p[:n])
					p = p[n:]
				}
				rest, _ := e.Finish()
				size += len(rest)
				encoders.Give(e)
			}
			b.ReportMetric(100*float64(size)/float64(page.Len()), "%size")
		})
	}
}

// TestCompressionAllocatesNothing covers decisions, whatever comes of them.
func TestCompressionAllocatesNothing(t *testing.T) {
	c := CompileCompression(&model.Compression{Algorithms: allCodings, Types: []string{"text/*", "*/*+json"}}, nil)
	for _, accepted := range []string{"gzip, deflate, br, zstd;q=0.1", "identity"} {
		req, resp := new(http1.Request), new(http1.Response)
		if n, err := req.Parse([]byte(crlf("GET / HTTP/1.1\nHost: h\nAccept-Encoding: "+accepted+"\n\n")), &http1.Limits{}); n == 0 {
			t.Fatal(err)
		}
		answer := crlf("HTTP/1.1 200 OK\nContent-Type: text/plain; charset=utf-8\nVary: Origin\nETag: \"a\"\nContent-Length: 2000\n\n")
		if n, err := resp.Parse([]byte(answer), &http1.Limits{}, req.Method); n == 0 {
			t.Fatal(err)
		}
		memory := make([]byte, 0, 1000)
		if n := testing.AllocsPerRun(100, func() {
			v := c.Judge(req, resp, false)
			v.Mark(&resp.Head)
			v.AppendTo(memory)
		}); n > 0 {
			t.Errorf("%q: %v allocations", accepted, n)
		}
	}
}
