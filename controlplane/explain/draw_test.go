package explain

import (
	"net/netip"

	"pgregory.net/rapid"

	"weir.dev/weir/model"
)

var anywhere = netip.MustParseAddrPort("0.0.0.0:80")

// drawn is a random route and its hostnames.
type drawn struct {
	hostnames []string
	route     *model.Route
}

func drawRoute(t *rapid.T) drawn {
	return drawn{
		hostnames: rapid.SampledFrom([][]string{nil, {"a.b.c"}, {"*.b.c"}, {"*.c", "d"}, {"a.b.c", "*.c"}}).Draw(t, "hostnames"),
		route:     &model.Route{Kind: "HTTPRoute", Namespace: "n", Object: "o", Matches: rapid.SliceOfN(rapid.Custom(drawMatch), 1, 3).Draw(t, "matches")},
	}
}

func drawMatch(t *rapid.T) model.Match {
	values := func(name string, of ...model.ValueMatch) []model.ValueMatch {
		n := rapid.IntRange(0, len(of)).Draw(t, name)
		return of[:n:n]
	}
	return model.Match{
		Path: rapid.SampledFrom([]model.PathMatch{
			{Type: model.MatchPrefix, Value: "/"},
			{Type: model.MatchPrefix, Value: "/a"},
			{Type: model.MatchPrefix, Value: "/a/"},
			{Type: model.MatchPrefix, Value: "/a/b"},
			{Type: model.MatchExact, Value: "/a"},
			{Type: model.MatchExact, Value: "/a/b"},
			{Type: model.MatchRegex, Value: "/a.*"},
			{Type: model.MatchRegex, Value: "/a(/b)?"},
		}).Draw(t, "path"),
		Method:  rapid.SampledFrom([]string{"", "GET", "POST"}).Draw(t, "method"),
		Headers: values("headers", model.ValueMatch{Name: "x", Type: model.MatchExact, Value: "1"}, model.ValueMatch{Name: "y", Type: model.MatchRegex, Value: "[0-9]"}),
		Query:   values("query", model.ValueMatch{Name: "q", Type: model.MatchExact, Value: "1"}, model.ValueMatch{Name: "p", Type: model.MatchExact, Value: "1"}),
	}
}
