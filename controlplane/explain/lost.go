package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"weir.dev/weir/model"
	"weir.dev/weir/traffic/match"
)

// loser is a route that did not get the request, by the one of its matches that came nearest.
type loser struct {
	route    *model.Route
	match    *model.Match
	hostname string // of its entry, the most specific that covers the host; see covers
	covers   bool
	path     bool // the match's path holds
	failed   []string
	common   int // bytes of the path that the match's has in common with it, if its path does not hold
	order    int
}

// nearer orders losers: those that match in all come first, then those whose path does, by
// how few other conditions fail, then those whose path has the most in common. Between equals
// the table's order holds.
func nearer(a, b *loser) int {
	truth := func(x, y bool) int {
		if x == y {
			return 0
		}
		if x {
			return -1
		}
		return 1
	}
	return cmp.Or(truth(a.covers, b.covers), truth(a.path, b.path), cmp.Compare(len(a.failed), len(b.failed)),
		cmp.Compare(b.common, a.common), cmp.Compare(a.order, b.order))
}

// lost lists the other routes of the table for the request's host, the nearest first, and
// counts those that it leaves out. Where nobody got the request and no route is for its host,
// it lists the routes for other hosts.
func (f *finding) lost() (list []model.LostRoute, more int) {
	losers := f.losers()
	slices.SortFunc(losers, nearer)
	anyCovers := f.route != nil || len(losers) > 0 && losers[0].covers
	for _, l := range losers {
		switch {
		case anyCovers && !l.covers:
		case len(list) == maxLost:
			more++
		default:
			list = append(list, model.LostRoute{Route: l.route.Name, Origin: l.route.Origin, Why: f.why(l)})
		}
	}
	return list, more
}

// losers judges every route of the table but the winner, each once.
func (f *finding) losers() []*loser {
	byRoute := map[*model.Route]*loser{}
	var all []*loser
	for i := range f.table.model.Entries {
		entry := &f.table.model.Entries[i]
		if entry.Route == f.route {
			continue
		}
		hostname, covers := covering(entry.Hostnames, f.query.Host)
		for j := range entry.Route.Matches {
			l := f.judge(entry.Route, &entry.Route.Matches[j], covers)
			l.hostname, l.covers, l.order = hostname, covers, i
			best := byRoute[entry.Route]
			if best == nil {
				byRoute[entry.Route] = l
				all = append(all, l)
			} else if f.representative(best, l) {
				*best = *l
			}
		}
	}
	return all
}

// representative reports whether another match of a route says more about why it lost than
// the one known so far: of two that match, it is the one that decides between them.
func (f *finding) representative(known, other *loser) bool {
	if !known.matches() || !other.matches() {
		return nearer(other, known) < 0
	}
	entry := func(l *loser) match.Entry[*loser] {
		return match.Entry[*loser]{Hostnames: l.entryHostnames(f.table.model), Matches: []model.Match{*l.match}, Value: l}
	}
	t, err := match.Compile([]match.Entry[*loser]{entry(known), entry(other)})
	if err != nil {
		return false
	}
	hit, _ := t.Find(&f.query)
	return hit.Value == other
}

// matches reports whether the route would get the request if there were no other.
func (l *loser) matches() bool { return l.covers && len(l.failed) == 0 }

// judge compares one match with the request, condition by condition, by the data plane's own
// code.
func (f *finding) judge(r *model.Route, m *model.Match, covers bool) *loser {
	l := &loser{route: r, match: m}
	if !covers {
		return l
	}
	everything := model.PathMatch{Type: model.MatchPrefix, Value: "/"}
	if l.path = f.holds(model.Match{Path: m.Path}); !l.path {
		l.common = commonPrefix(string(f.query.Path), m.Path.Value)
		l.failed = append(l.failed, pathText(string(f.query.Path), m.Path))
	}
	if m.Method != "" && !f.holds(model.Match{Path: everything, Method: m.Method}) {
		l.failed = append(l.failed, fmt.Sprintf("method is %s, wanted %s", f.query.Method, m.Method))
	}
	for i, h := range m.Headers {
		if !f.holds(model.Match{Path: everything, Headers: m.Headers[i : i+1]}) {
			value, present := f.query.Headers.Joined(h.Name)
			l.failed = append(l.failed, valueText("header", h, string(value), present))
		}
	}
	for i, q := range m.Query {
		if !f.holds(model.Match{Path: everything, Query: m.Query[i : i+1]}) {
			value, present := queryValue(string(f.query.Query), q.Name)
			l.failed = append(l.failed, valueText("query parameter", q, value, present))
		}
	}
	return l
}

// holds reports whether the request has what a match wants, whatever its host.
func (f *finding) holds(m model.Match) bool {
	t, err := match.Compile([]match.Entry[struct{}]{{Matches: []model.Match{m}}})
	if err != nil {
		return false
	}
	_, ok := t.Find(&f.query)
	return ok
}

// covering returns the most specific of an entry's hostnames that covers the host. An entry
// without any covers every host.
func covering(hostnames []string, host []byte) (string, bool) {
	if len(hostnames) == 0 {
		return "", true
	}
	var hosts match.Hosts[string]
	for _, h := range hostnames {
		hosts.Set(h, h)
	}
	return hosts.Find(host)
}

func commonPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

func pathText(path string, m model.PathMatch) string {
	switch m.Type {
	case model.MatchExact:
		return fmt.Sprintf("path is not exactly %s", m.Value)
	case model.MatchRegex:
		return fmt.Sprintf("path does not match the expression %s", m.Value)
	}
	if strings.HasPrefix(path, strings.TrimRight(m.Value, "/")) {
		return fmt.Sprintf("path is not under %s: a prefix is of whole segments", m.Value)
	}
	return fmt.Sprintf("path is not under %s", m.Value)
}

// valueText says what a header or query parameter is and what it should be.
func valueText(what string, m model.ValueMatch, value string, present bool) string {
	is := "is absent"
	if present {
		is = "is " + shown(m.Name, value)
	}
	wanted := shown(m.Name, m.Value)
	if m.Type == model.MatchRegex {
		wanted = "a match of " + model.Hidden(m.Name, m.Value)
	}
	return fmt.Sprintf("%s %s %s, wanted %s", what, m.Name, is, wanted)
}

// shown is a value as it may be shown: in quotes, unless it is hidden.
func shown(name, value string) string {
	if v := model.Hidden(name, value); v != value {
		return v
	}
	return strconv.Quote(value)
}

// queryValue returns a parameter as it is written, for people.
func queryValue(query, name string) (value string, present bool) {
	for parameter := range strings.SplitSeq(query, "&") {
		if n, v, _ := strings.Cut(parameter, "="); n == name {
			return v, true
		}
	}
	return "", false
}

// why says in words why a route did not get the request.
func (f *finding) why(l *loser) string {
	switch {
	case !l.covers:
		return fmt.Sprintf("host %s is none of %s", f.query.Host, some(l.entryHostnames(f.table.model)))
	case len(l.failed) > 0:
		return strings.Join(l.failed, "; ")
	}
	return "matches too, but " + f.beaten(l)
}

func (l *loser) entryHostnames(t *model.RouteTable) []string { return t.Entries[l.order].Hostnames }

// beaten names what decides between the winner and a route that matches as well, in the order
// of precedence (Gateway API, HTTPRoute hostnames, HTTPRouteRule.matches and GRPCRouteRule.matches).
func (f *finding) beaten(l *loser) string {
	won := f.winner()
	if a, b := hostRank(won.hostname), hostRank(l.hostname); a != b {
		return fmt.Sprintf("hostname %s is less specific than %s", orEvery(l.hostname), orEvery(won.hostname))
	}
	w, m := won.match, l.match
	if w.Path.Type != m.Path.Type || (w.Path.Precedence > 0) != (m.Path.Precedence > 0) {
		return fmt.Sprintf("%s beats %s", pathKind(w.Path), pathKind(m.Path))
	}
	if w.Path.Precedence != m.Path.Precedence {
		return "the winner names the service more closely, or else the method"
	}
	if a, b := pathLength(w.Path), pathLength(m.Path); a != b {
		return fmt.Sprintf("%s %s is longer than %s", strings.ToLower(string(w.Path.Type)), w.Path.Value, m.Path.Value)
	}
	if (w.Method != "") != (m.Method != "") {
		return "the winner names the method"
	}
	if a, b := len(w.Headers), len(m.Headers); a != b {
		return fmt.Sprintf("the winner matches more headers (%d against %d)", a, b)
	}
	if a, b := len(w.Query), len(m.Query); a != b {
		return fmt.Sprintf("the winner matches more query parameters (%d against %d)", a, b)
	}
	if f.route.Kind == l.route.Kind && f.route.Namespace == l.route.Namespace && f.route.Object == l.route.Object {
		return fmt.Sprintf("of equal matches rule %s comes first in the route", f.route.Rule)
	}
	return "of equal matches the winner's route is older, or first by namespace and name"
}

// winner is the winning route seen as a loser is. The entry that won is the one for the most
// specific hostname.
func (f *finding) winner() *loser {
	won := &loser{route: f.route, match: f.match}
	best := -1
	for i := range f.table.model.Entries {
		if f.table.model.Entries[i].Route != f.route {
			continue
		}
		if h, covers := covering(f.table.model.Entries[i].Hostnames, f.query.Host); covers && hostRank(h) > best {
			best, won.hostname, won.order = hostRank(h), h, i
		}
	}
	return won
}

// hostRank grows with how specific a hostname is: none, wildcards by length, exact.
func hostRank(hostname string) int {
	if hostname != "" && !strings.HasPrefix(hostname, "*.") {
		return 1 << 16
	}
	return len(hostname)
}

func orEvery(hostname string) string {
	if hostname == "" {
		return "for every host"
	}
	return hostname
}

// pathKind names what precedence tells apart by kind. The prefix "/" is one of its own, but of
// two prefixes it is their length that counts.
func pathKind(m model.PathMatch) string {
	switch {
	case m.Type == model.MatchExact:
		return "an exact path"
	case m.Type == model.MatchPrefix && pathLength(m) == 0:
		return "the prefix /"
	case m.Type == model.MatchPrefix:
		return "a prefix"
	case m.Precedence > 0:
		return "an expression for calls"
	}
	return "an expression"
}

// pathLength is the length that precedence goes by: a slash at the end of a prefix is none.
func pathLength(m model.PathMatch) int {
	if m.Type == model.MatchPrefix {
		return len(strings.TrimRight(m.Value, "/"))
	}
	return len(m.Value)
}
