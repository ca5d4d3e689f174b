package translate

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"weir.dev/weir/model"
)

func TestCookiePath(t *testing.T) {
	prefix := func(v string) model.Match {
		return model.Match{Path: model.PathMatch{Type: model.MatchPrefix, Value: v}}
	}
	exact := func(v string) model.Match {
		return model.Match{Path: model.PathMatch{Type: model.MatchExact, Value: v}}
	}
	regex := func(v string) model.Match {
		return model.Match{Path: model.PathMatch{Type: model.MatchRegex, Value: v}}
	}
	for _, tt := range []struct {
		want    string
		matches []model.Match
	}{
		{"/", []model.Match{prefix("/")}},
		{"/shop", []model.Match{prefix("/shop")}},
		{"/shop", []model.Match{prefix("/shop/")}},
		{"/shop/cart", []model.Match{exact("/shop/cart")}},
		{"/shop", []model.Match{prefix("/shop/cart"), exact("/shop/orders/1")}},
		{"/shop", []model.Match{prefix("/shop/cart"), prefix("/shop")}},
		{"/", []model.Match{prefix("/shop"), prefix("/shopping")}},
		{"/", []model.Match{prefix("/shop"), prefix("/")}},
		{"/p1/p2", []model.Match{regex("/p1/p2/[^/]+/p3")}}, // GEP-1619's own example
		{"/p1/p2", []model.Match{regex("^/p1/p2$")}},
		{"/p1", []model.Match{regex("/p1/p2.*")}},
		{"/p1", []model.Match{regex("/p1/p2?")}},
		{"/p", []model.Match{regex("/p/(a|b)")}},
		{"/", []model.Match{regex("(?i)/p1/p2")}},
		{"/", []model.Match{regex("/a|b/c")}},
		{"/", []model.Match{regex(".*")}},
		{"/a", []model.Match{regex("/a/b x/c")}},
		{"/a", []model.Match{exact("/a/b;Domain=evil.test/c")}},
		{"/a", []model.Match{regex(`/a/b\n/c`)}},
		{"/", []model.Match{exact("/ä")}},
	} {
		if got := cookiePath(tt.matches); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.matches, got, tt.want)
		}
	}
}

// TestCookiePathIsSafe: whatever a route matches, the attribute cannot end early, and below
// it are all paths that are matched as written.
func TestCookiePathIsSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var matches []model.Match
		for range rapid.IntRange(1, 3).Draw(t, "matches") {
			kind := rapid.SampledFrom([]model.MatchType{model.MatchExact, model.MatchPrefix}).Draw(t, "type")
			path := "/" + rapid.StringMatching(`([ab;]|ä| |\n){0,3}(/[ab;]{0,2}){0,2}`).Draw(t, "path")
			matches = append(matches, model.Match{Path: model.PathMatch{Type: kind, Value: path}})
		}
		got := cookiePath(matches)
		if !strings.HasPrefix(got, "/") || strings.ContainsAny(got, "; \n\x7fä") {
			t.Fatalf("%q", got)
		}
		for _, m := range matches {
			if below := strings.TrimSuffix(got, "/") + "/"; m.Path.Value != got && !strings.HasPrefix(m.Path.Value, below) {
				t.Fatalf("%q is not below %q", m.Path.Value, got)
			}
		}
	})
}

func TestIsToken(t *testing.T) {
	for name, want := range map[string]bool{
		"": false, "a": true, "X-Session": true, "weir_session.1": true, "a b": false, "a;b": false, "a=b": false, "a\r\nb": false, "ä": false, `a"`: false,
	} {
		if isToken(name) != want {
			t.Errorf("%q: %t, want %t", name, !want, want)
		}
	}
}
