package policy

import (
	"regexp"
	"strings"
	"testing"

	"weir.dev/weir/dataplane/http1"
)

func counter() func() uint64 {
	n := ^uint64(0)
	return func() uint64 {
		n++
		return n * 0x0123456789abcdef
	}
}

func TestRequestID(t *testing.T) {
	tests := []struct {
		name   string
		fields []string
		want   string // empty: a new one
	}{
		{"absent", nil, ""},
		{"kept", []string{"X-REQUEST-ID: abc/+=:~"}, "abc/+=:~"},
		{"longest", []string{"x-request-id: " + strings.Repeat("a", 128)}, strings.Repeat("a", 128)},
		{"too long", []string{"x-request-id: " + strings.Repeat("a", 129)}, ""},
		{"empty", []string{"x-request-id:"}, ""},
		{"space", []string{"x-request-id: a b"}, ""},
		{"not ASCII", []string{"x-request-id: ä"}, ""},
		{"two", []string{"x-request-id: a", "x-request-id: a"}, ""},
	}
	uuid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			id := Identify([]byte("old"), &get(t, tt.fields...).Head, counter())
			if id.Made != (tt.want == "") || id.Drops(http1.NameXRequestID) != id.Made {
				t.Errorf("made %v", id.Made)
			}
			line := string(id.AppendTo(nil, 0))
			switch {
			case !id.Made && (string(id.ID) != tt.want || line != ""):
				t.Errorf("%q, appended %q", id.ID, line)
			case id.Made && (!uuid.Match(id.ID) || line != "X-Request-ID: "+string(id.ID)+"\r\n"):
				t.Errorf("%q, appended %q", id.ID, line)
			}
			if got := id.AppendTo(nil, GeneratedRequestID); len(got) > 0 {
				t.Errorf("%q appended beside an edit", got)
			}
		})
	}
}

func TestUUID(t *testing.T) {
	if got := string(appendUUID(nil, 0x0123456789abcdef, 0xfedcba9876543210)); got != "01234567-89ab-4def-bedc-ba9876543210" {
		t.Error(got)
	}
	if got := string(appendUUID(nil, 0, 0)); got != "00000000-0000-4000-8000-000000000000" {
		t.Error(got)
	}
	if got := string(appendUUID(nil, ^uint64(0), ^uint64(0))); got != "ffffffff-ffff-4fff-bfff-ffffffffffff" {
		t.Error(got)
	}
}

func TestTraceparent(t *testing.T) {
	const good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	tests := []struct {
		name   string
		values []string
		want   bool
	}{
		{"absent", nil, false},
		{"good", []string{good}, true},
		{"two", []string{good, good}, false},
		{"longer", []string{good + "-x"}, false},
		{"later version", []string{"01" + good[2:]}, true},
		{"later version with more", []string{"cc" + good[2:] + "-what"}, true},
		{"later version with garbage", []string{"cc" + good[2:] + "x"}, false},
		{"version ff", []string{"ff" + good[2:]}, false},
		{"upper case", []string{strings.ToUpper(good)}, false},
		{"trace id of zeros", []string{"00-" + strings.Repeat("0", 32) + good[35:]}, false},
		{"parent id of zeros", []string{good[:36] + strings.Repeat("0", 16) + "-01"}, false},
		{"short", []string{good[:54]}, false},
		{"separator", []string{strings.Replace(good, "-01", "_01", 1)}, false},
		{"flags", []string{good[:53] + "0g"}, false},
		{"version", []string{"0x" + good[2:]}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fields := []string{"tracestate: a=b"}
			for _, v := range tt.values {
				fields = append(fields, "Traceparent: "+v)
			}
			id := Identify(nil, &get(t, fields...).Head, counter())
			if id.Traced != tt.want || id.Drops(http1.NameTraceparent) == tt.want || id.Drops(http1.NameTracestate) == tt.want {
				t.Errorf("traced %v", id.Traced)
			}
			if id.Drops(http1.NameOther) {
				t.Error("another field is dropped")
			}
		})
	}
}

func TestIdentityAllocations(t *testing.T) {
	scratch, dst := make([]byte, 0, 64), make([]byte, 0, 256)
	random := counter()
	req := get(t, "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	noAllocations(t, func() {
		id := Identify(scratch, &req.Head, random)
		dst = id.AppendTo(dst[:0], 0)
	})
}
