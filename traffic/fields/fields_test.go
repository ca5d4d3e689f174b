package fields

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"weir.dev/weir/model"
)

func TestEffects(t *testing.T) {
	rule := &model.HeaderEdit{
		Remove: []string{"X-Gone", "host"},
		Set:    []model.Header{{Name: "x-set", Value: "1"}, {Name: "X-Set", Value: "2"}, {Name: "x-bad", Value: "a\r\nb"}},
		Add:    []model.Header{{Name: "x-add", Value: "a"}, {Name: "no token", Value: "a"}},
	}
	arm := &model.HeaderEdit{
		Add:    []model.Header{{Name: "x-add", Value: "b"}, {Name: "x-set", Value: "3"}},
		Remove: []string{"content-length"},
	}
	want := []Effect{
		{Name: "x-gone", Drop: true},
		{Name: "x-set", Drop: true, Values: []string{"1", "3"}},
		{Name: "x-add", Values: []string{"a", "b"}},
	}
	got := Effects(rule, nil, arm)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got := Effects(nil); got != nil {
		t.Errorf("no edits have the effects %v", got)
	}
	for _, c := range []struct {
		name       string
		have, want []string
	}{
		{"x-gone", []string{"1"}, nil},
		{"x-set", []string{"0"}, []string{"1", "3"}},
		{"x-add", []string{"0"}, []string{"0", "a", "b"}},
		{"x-add", nil, []string{"a", "b"}},
		{"x-other", []string{"0"}, []string{"0"}},
	} {
		if d := cmp.Diff(c.want, On(got, c.name, c.have)); d != "" {
			t.Errorf("%s of %v: %s", c.name, c.have, d)
		}
	}
}

func TestIsToken(t *testing.T) {
	for s, want := range map[string]bool{"": false, "x-a": true, "A_9.~|": true, "a b": false, "a:": false, "{": false, "[": false, "@": false, "é": false, "`": true, "\x00": false} {
		if isToken(s) != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
}
