package policy

import (
	"encoding/base64"
	"strings"
	"testing"

	"weir.dev/weir/model"
)

func TestCohorts(t *testing.T) {
	c := CompileCohorts([]model.Cohort{
		{Name: "broken", When: "this does not compile"},
		{Name: "in error", When: `int(request.headers["x-n"]) > 1`},
		{Name: "staff", When: `request.headers["x-staff"] == "1"`},
		{Name: "all", When: `request.path == "/preview"`},
	})
	for head, want := range map[string]int{
		"GET / HTTP/1.1\r\nHost: h\r\n\r\n":                         -1,
		"GET / HTTP/1.1\r\nHost: h\r\nX-Staff: 1\r\n\r\n":           2,
		"GET /preview HTTP/1.1\r\nHost: h\r\nX-Staff: 1\r\n\r\n":    2,
		"GET /preview HTTP/1.1\r\nHost: h\r\n\r\n":                  3,
		"GET / HTTP/1.1\r\nHost: h\r\nX-N: 2\r\nX-Staff: 1\r\n\r\n": 1,
	} {
		if got := c.First(priorityFacts(t, head, "")); got != want {
			t.Errorf("%q: %d, want %d", head, got, want)
		}
	}
	if CompileCohorts(nil) != nil {
		t.Error("none are something")
	}
}

// cookieOf returns the cookie that an answer's field gives, as a request sends it.
func cookieOf(t testing.TB, u *UserIDs, id UserID) string {
	t.Helper()
	line := fieldLines(t, u.AppendTo(nil, id, false))[0]
	pair, _, _ := strings.Cut(strings.TrimPrefix(line, "Set-Cookie: "), ";")
	return pair
}

func TestUserIDs(t *testing.T) {
	u := NewUserIDs([]byte("the secret"))
	id := NewUserID(0x0123456789abcdef, 0xfedcba9876543210)
	for _, https := range []bool{false, true} {
		const want = "Set-Cookie: weir-user=ASNFZ4mrze_-3LqYdlQyEFmLuKKQgh73rs2LNNF1; Path=/; HttpOnly; SameSite=Lax"
		line := fieldLines(t, u.AppendTo(nil, id, https))[0]
		if got := strings.TrimSuffix(line, "; Secure"); got != want || (line != got) != https {
			t.Errorf("https %v: %q, want %q", https, line, want)
		}
	}
	pair := cookieOf(t, u, id)
	name, text, _ := strings.Cut(pair, "=")
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(raw) != userBytes || string(raw[:16]) != string(id[:]) {
		t.Fatalf("%q: %v", pair, err)
	}
	for _, test := range []struct {
		name, cookie string
		ok           bool
	}{
		{"its own", pair, true},
		{"among others", "a=b; " + pair + "; c=d", true},
		{"behind two that are none", "weir-user=x; weir-user=y; " + pair, true},
		{"behind too many", "weir-user=x; weir-user=y; weir-user=z; " + pair, false},
		{"none", "a=b", false},
		{"cut", pair[:len(pair)-1], false},
		{"longer", pair + "A", false},
		{"of another secret", cookieOf(t, NewUserIDs([]byte("another")), id), false},
		{"not base64", name + "=" + strings.Repeat("*", userText), false},
		{"another name", "weir-users=" + text, false},
	} {
		got, ok := u.Read(&get(t, "Cookie: "+test.cookie).Head)
		if ok != test.ok || ok && got != id || !ok && got != (UserID{}) {
			t.Errorf("%s: %x, %v", test.name, got, ok)
		}
	}
	for bit := range userBytes * 8 { // no bit can be changed
		forged := append([]byte(nil), raw...)
		forged[bit/8] ^= 1 << (bit % 8)
		if _, ok := u.Read(&get(t, "Cookie: "+name+"="+base64.RawURLEncoding.EncodeToString(forged)).Head); ok {
			t.Errorf("with bit %d changed the id is believed", bit)
		}
	}
	if NewUserIDs(nil) != nil {
		t.Error("ids without a secret")
	}
	head := &get(t, "Cookie: "+pair).Head
	dst := make([]byte, 0, 200)
	if raceEnabled { // pools forget things then
		return
	}
	noAllocations(t, func() { u.Read(head); dst = u.AppendTo(dst[:0], id, true) })
}

func FuzzUserIDs(f *testing.F) {
	u := NewUserIDs([]byte("the secret"))
	f.Add("weir-user=ASNFZ4mrze_-3LqYdlQyEA")
	f.Fuzz(func(t *testing.T, cookie string) {
		if !printable(cookie) {
			return
		}
		id, ok := u.Read(&get(t, "Cookie: "+cookie).Head)
		if ok && !strings.Contains(cookie, strings.TrimPrefix(cookieOf(t, u, id), "weir-user=")) {
			t.Errorf("%q is believed to be %x", cookie, id)
		}
	})
}

// printable reports whether a text can stand in a field.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return len(s) < 10_000
}

func TestArms(t *testing.T) {
	const release = "shop/checkout"
	for _, test := range []struct{ value, arm, others string }{
		{"", "", ""},
		{"shop/checkout=canary", "canary", ""},
		{"a/b=stable, shop/checkout=canary , c/d=canary", "canary", "a/b=stable, c/d=canary, "},
		{"shop/checkout=stable,shop/checkout=canary", "stable", ""},
		{"shop/checkout", "", ""},
		{"shop/checkouts=canary,xshop/checkout=canary", "", "shop/checkouts=canary, xshop/checkout=canary, "},
		{",,= ,=,", "", "=, =, "},
	} {
		if got := string(ParseArm([]byte(test.value), release)); got != test.arm {
			t.Errorf("%q: %q, want %q", test.value, got, test.arm)
		}
		if got := string(AppendArms(nil, []byte(test.value), release)); got != test.others {
			t.Errorf("%q: others %q, want %q", test.value, got, test.others)
		}
	}
	long := AppendArms(nil, []byte(strings.Repeat("a/b=canary,", 1000)), release)
	if len(long) > maxArms+2 || len(long) < maxArms-20 {
		t.Errorf("%d bytes", len(long))
	}
}
