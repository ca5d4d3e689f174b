package policy

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weir.dev/weir/model"
)

var sessionStart = time.UnixMilli(1_800_000_000_123)

func TestTokenRoundTrip(t *testing.T) {
	want := token{0xfedcba9876543210, sessionStart}
	text := appendToken(nil, want)
	got, ok := parseToken(text)
	if !ok || got != want || len(text) != tokenText {
		t.Errorf("%q gives %v, %v, want %v", text, got, ok, want)
	}
	for i := range text { // one character missing, foreign, or more
		for _, bad := range []string{string(text[:i]) + string(text[i+1:]), string(text[:i]) + "+" + string(text[i+1:]), string(text) + "A"} {
			if _, ok := parseToken([]byte(bad)); ok {
				t.Errorf("%q is taken for a token", bad)
			}
		}
	}
	if _, ok := parseToken(append([]byte("Ag"), text[2:]...)); ok {
		t.Error("a token of version 2 is read")
	}
}

func TestSessionLives(t *testing.T) {
	const hour = time.Hour
	began := func(ago time.Duration) string {
		return "s=" + string(appendToken(nil, token{7, sessionStart.Add(-ago)}))
	}
	for _, test := range []struct {
		name     string
		absolute time.Duration
		cookie   string
		lives    bool
	}{
		{"without timeout", 0, began(1000 * hour), true},
		{"none", 0, "t=1", false},
		{"malformed", 0, "s=10.0.0.1:80", false},
		{"quoted", 0, `s="` + began(0)[2:] + `"`, false},
		{"the first that is a token", 0, "s=junk; " + began(0), true},
		{"one that is too old counts", hour, began(hour) + "; " + began(0), false},
		{"young", 2 * hour, began(2*hour - time.Millisecond), true},
		{"old", 2 * hour, began(2 * hour), false},
		{"clocks differ", 2 * hour, began(-5 * time.Minute), true},
		{"from the future", 0, began(-6 * time.Minute), false},
	} {
		s := CompileSession(&model.Session{Type: model.SessionCookie, Name: "s", AbsoluteTimeout: test.absolute})
		host, ok := s.Read(&get(t, "Cookie: "+test.cookie).Head, sessionStart)
		if ok != test.lives || ok && host != 7 {
			t.Errorf("%s: lives: %v, at host %d", test.name, ok, host)
		}
	}
}

// TestSessionCookie reads what is written with net/http.
func TestSessionCookie(t *testing.T) {
	text := string(appendToken(nil, token{1, sessionStart}))
	base := http.Cookie{Name: "s", Value: text, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode}
	for _, test := range []struct {
		name  string
		m     model.Session
		https bool
		want  func(c *http.Cookie)
	}{
		{"plain", model.Session{AbsoluteTimeout: time.Hour}, false, func(*http.Cookie) {}},
		{"https", model.Session{}, true, func(c *http.Cookie) { c.Secure = true }},
		{"path", model.Session{Path: "/cart"}, false, func(c *http.Cookie) { c.Path = "/cart" }},
		{"path that cannot be", model.Session{Path: "/a;b"}, false, func(*http.Cookie) {}},
		{"path of a regular expression", model.Session{Path: "cart"}, false, func(*http.Cookie) {}},
		{"permanent", model.Session{Permanent: true, AbsoluteTimeout: 100*time.Second + 1}, true, func(c *http.Cookie) { c.MaxAge, c.Secure = 101, true }},
		{"permanent without end", model.Session{Permanent: true}, false, func(*http.Cookie) {}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.m.Type, test.m.Name = model.SessionCookie, "s"
			line := string(CompileSession(&test.m).AppendTo(nil, 1, sessionStart, test.https))
			fieldLines(t, []byte(line))
			got, err := http.ParseSetCookie(strings.TrimPrefix(strings.TrimSpace(line), "Set-Cookie: "))
			if err != nil {
				t.Fatal(err)
			}
			got.Raw = ""
			want := base
			test.want(&want)
			if diff := cmp.Diff(&want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSessionHeader(t *testing.T) {
	s := CompileSession(&model.Session{Type: model.SessionHeader, Name: "x-session", Permanent: true, AbsoluteTimeout: time.Hour})
	line := string(s.AppendTo(nil, 1, sessionStart, true))
	if want := "x-session: " + string(appendToken(nil, token{1, sessionStart})) + "\r\n"; line != want {
		t.Errorf("got %q, want %q", line, want)
	}
	req := get(t, "X-Other: 1", strings.TrimSpace(line))
	if got, ok := s.Read(&req.Head, sessionStart); !ok || got != 1 {
		t.Errorf("read %v, %v", got, ok)
	}
	s.Claim(&req.Head)
	if _, ok := s.Read(&req.Head, sessionStart); ok {
		t.Error("the upstream's own header stays")
	}
	if _, ok := req.Lookup("x-other"); !ok {
		t.Error("another header is gone")
	}
}

func TestNamesThatNoSessionHas(t *testing.T) {
	for _, m := range []*model.Session{
		nil,
		{Type: model.SessionCookie, Name: "a b"},
		{Type: model.SessionCookie},
		{Type: model.SessionHeader, Name: "content-length"},
		{Type: model.SessionHeader, Name: "connection"},
		{Type: model.SessionHeader, Name: "x\r\ny"},
	} {
		if CompileSession(m) != nil {
			t.Errorf("%+v is taken", m)
		}
	}
}

func TestSessionsAllocateNothing(t *testing.T) {
	s := CompileSession(&model.Session{Type: model.SessionCookie, Name: "s", AbsoluteTimeout: time.Hour, Permanent: true})
	req := get(t, "Cookie: a=b; s="+string(appendToken(nil, token{1, sessionStart})))
	dst := make([]byte, 0, 256)
	noAllocations(t, func() {
		if got, ok := s.Read(&req.Head, sessionStart); !ok || got != 1 {
			t.Fatal("not read")
		}
		dst = s.AppendTo(dst[:0], 1, sessionStart, true)
	})
}

func TestHTTPS(t *testing.T) {
	peer := netip.MustParseAddr("192.0.2.1")
	for _, test := range []struct {
		hops   int
		scheme string
		fields []string
		want   bool
	}{
		{0, "http", nil, false},
		{0, "https", nil, true},
		{0, "http", []string{"X-Forwarded-Proto: https"}, false},
		{1, "http", []string{"X-Forwarded-Proto: HTTPS , http"}, true},
		{1, "https", []string{"X-Forwarded-Proto: http"}, false},
		{1, "https", nil, true},
	} {
		f := CompileForwarding(&model.Client{TrustHops: test.hops}, test.scheme, 80)
		req := get(t, test.fields...)
		c := f.Judge(peer, "", &req.Head)
		if got := f.HTTPS(&c, &req.Head); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
}

// FuzzToken checks that whatever is read as a token is written as the same text.
func FuzzToken(f *testing.F) {
	f.Add(appendToken(nil, token{1, sessionStart}))
	f.Add([]byte(strings.Repeat("A", tokenText)))
	f.Add([]byte(strings.Repeat("_", tokenText)))
	f.Add([]byte("AX0000000000000000\r0"))
	f.Fuzz(func(t *testing.T, text []byte) {
		token, ok := parseToken(text)
		if ok && string(appendToken(nil, token)) != string(text) {
			t.Fatalf("%q is read as %v", text, token)
		}
	})
}
