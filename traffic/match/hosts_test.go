package match

import "testing"

func TestHostname(t *testing.T) {
	tests := []struct {
		pattern, host string
		want          bool
	}{
		{"", "", true},
		{"", "a.test", true},
		{"a.test", "a.test", true},
		{"a.test", "b.a.test", false},
		{"a.test", "", false},
		{"*.test", "a.test", true},
		{"*.test", "a.b.test", true},
		{"*.test", "test", false},
		{"*.test", ".test", false},
		{"*.test", "atest", false},
		{"*.b.test", "a.test", false},
	}
	for _, tt := range tests {
		var h Hosts[bool]
		h.Set(tt.pattern, true)
		if got, ok := h.Find([]byte(tt.host)); got != tt.want || ok != tt.want {
			t.Errorf("Hosts with %q: Find(%q) = %v, %v", tt.pattern, tt.host, got, ok)
		}
	}
}

func TestHostsFindsTheMostSpecific(t *testing.T) {
	var h Hosts[string]
	for _, pattern := range []string{"a.test", "*.b.test", "*.test", ""} {
		h.Set(pattern, pattern)
	}
	h.Set("Upper.TEST", "upper")
	h.Set("*.Test", "*.test again")
	for host, want := range map[string]string{
		"a.test": "a.test", "x.b.test": "*.b.test", "b.test": "*.test again", "x.y.b.test": "*.b.test",
		"test": "", "other": "", "": "", "upper.test": "upper",
	} {
		if got, ok := h.Find([]byte(host)); got != want || !ok {
			t.Errorf("Find(%q) = %q, %v; want %q", host, got, ok, want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { h.Find([]byte("x.y.b.test")) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
