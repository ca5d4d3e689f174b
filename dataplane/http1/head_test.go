package http1

import (
	"net/http"
	"strings"
	"testing"
)

func TestHead(t *testing.T) {
	var r Request
	raw := get("X-A: 1", "Via: v", "x-a:  2 ", "x_a: 3", "X-Request-Id: i", "x-A:")
	if _, err := r.Parse([]byte(raw), &Limits{Underscores: "Drop"}); err != nil {
		t.Fatal(err)
	}
	if v, ok := r.Get(NameVia); string(v) != "v" || !ok {
		t.Errorf("Get(NameVia) = %q, %v", v, ok)
	}
	if v, ok := r.Get(NameForwarded); v != nil || ok {
		t.Errorf("Get(NameForwarded) = %q, %v", v, ok)
	}
	for _, test := range []struct {
		name, lookup, joined string
		ok                   bool
	}{
		{"x-a", "1", "1,2,", true},
		{"x-request-id", "i", "i", true},
		{"x_a", "", "", false},
		{"x-b", "", "", false},
		{"", "", "", false},
	} {
		if v, ok := r.Lookup(test.name); string(v) != test.lookup || ok != test.ok {
			t.Errorf("Lookup(%q) = %q, %v", test.name, v, ok)
		}
		if v, ok := r.Joined(test.name); string(v) != test.joined || ok != test.ok {
			t.Errorf("Joined(%q) = %q, %v", test.name, v, ok)
		}
	}
	var dst []byte
	for i, f := range r.Fields {
		if !f.Dropped {
			dst = r.AppendRaw(dst, i)
		}
	}
	if want := "Host: a\r\nX-A: 1\r\nVia: v\r\nx-a:  2\r\nX-Request-Id: i\r\nx-A:\r\n"; string(dst) != want {
		t.Errorf("AppendRaw: %q, want %q", dst, want)
	}
}

func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for n := NameOther + 1; n < nameCount; n++ {
		lower, canonical := n.String(), n.Canonical()
		if lower == "" || lower != strings.ToLower(canonical) || seen[lower] {
			t.Errorf("%d: %q, %q", n, lower, canonical)
		}
		seen[lower] = true
		full := canonical
		if strings.HasSuffix(lower, "-") {
			full += "Foo"
			if got := recognise([]byte(lower)); got != n {
				t.Errorf("the prefix %s alone is %d", lower, got)
			}
		}
		for _, s := range []string{full, strings.ToLower(full), strings.ToUpper(full)} {
			if got := recognise([]byte(s)); got != n {
				t.Errorf("recognise(%q) = %d, want %d", s, got, n)
			}
		}
		for _, s := range []string{full[1:], "y" + full, strings.ReplaceAll(full, "-", "_") + "_"} {
			if got := recognise([]byte(s)); got == n {
				t.Errorf("recognise(%q) = %d", s, got)
			}
		}
	}
	for _, s := range []string{"X-Weird", "Hosts", "Content_Length", "X-Forwarded"} {
		if got := recognise([]byte(s)); got != NameOther {
			t.Errorf("recognise(%q) = %d", s, got)
		}
	}
}

func TestAppend(t *testing.T) {
	for _, test := range []struct{ got, want string }{
		{string(AppendRequestLine(nil, []byte("GET"), []byte("/p"), []byte("q"), true)), "GET /p?q HTTP/1.1\r\n"},
		{string(AppendRequestLine(nil, []byte("GET"), []byte("/p"), nil, true)), "GET /p? HTTP/1.1\r\n"},
		{string(AppendRequestLine(nil, []byte("OPTIONS"), []byte("*"), nil, false)), "OPTIONS * HTTP/1.1\r\n"},
		{string(AppendStatusLine(nil, 299)), "HTTP/1.1 299 \r\n"},
		{string(AppendStatusLine(nil, 999)), "HTTP/1.1 999 \r\n"},
		{string(AppendField(nil, "a", []byte("b"))), "a: b\r\n"},
		{string(AppendFieldString(nil, "a", "")), "a: \r\n"},
		{string(AppendChunkSize(nil, 0)), "0\r\n"},
		{string(AppendChunkSize(nil, 0xabc)), "abc\r\n"},
	} {
		if test.got != test.want {
			t.Errorf("got %q, want %q", test.got, test.want)
		}
	}
	for status := 100; status < 600; status++ {
		want := "HTTP/1.1 " + string(rune('0'+status/100)) + string(rune('0'+status/10%10)) + string(rune('0'+status%10)) +
			" " + http.StatusText(status) + "\r\n"
		if got := string(AppendStatusLine(nil, status)); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// The tables of bytes and the word-wise check agree with RFC 9110 byte by byte, wherever
// in a word the byte stands.
func TestCleanValue(t *testing.T) {
	for b := range 256 {
		want := b == '\t' || b >= 0x20 && b != 0x7f
		for at := range 20 {
			value := []byte(strings.Repeat("\xff", 20))
			value[at] = byte(b)
			if got := cleanValue(value); got != want {
				t.Fatalf("byte %#x at %d: clean is %v", b, at, got)
			}
		}
	}
}
