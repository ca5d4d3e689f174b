package explain

import (
	"net/url"
	"regexp/syntax"
	"strings"

	"weir.dev/weir/model"
	"weir.dev/weir/traffic/match"
	"weir.dev/weir/traffic/uri"
)

// Class is a class of requests: those that one match of a rule is written for, under one
// hostname of a listener. Other routes may take them.
type Class struct {
	Listener string `json:"listener"`
	Hostname string `json:"hostname,omitempty"` // empty: every host
	Match    string `json:"match"`              // as people read it: POST /cart/* x-a=1

	match *model.Match
}

// String names the class: "POST shop.example.com/cart/* x-preview=true".
func (c Class) String() string {
	if c.Hostname == "" {
		return c.Match + " (any host)"
	}
	if method, rest, found := strings.Cut(c.Match, " "); found && c.match.Method != "" {
		return method + " " + c.Hostname + rest
	}
	return c.Hostname + c.Match
}

func classText(m *model.Match) string {
	var b strings.Builder
	if m.Method != "" {
		b.WriteString(m.Method + " ")
	}
	switch m.Path.Type {
	case model.MatchPrefix:
		b.WriteString(strings.TrimRight(m.Path.Value, "/") + "/*")
	case model.MatchRegex:
		b.WriteString("~" + m.Path.Value)
	default:
		b.WriteString(m.Path.Value)
	}
	values := func(start string, list []model.ValueMatch) {
		for _, v := range list {
			operator := "="
			if v.Type == model.MatchRegex {
				operator = "~"
			}
			b.WriteString(start + v.Name + operator + model.Hidden(v.Name, v.Value))
		}
	}
	values(" ", m.Headers)
	values(" ?", m.Query)
	return b.String()
}

// classKey tells classes apart, hidden values included.
type classKey struct{ listener, hostname, match string }

// classes yields the classes of a snapshot in the order of its parts, some maybe twice.
func classes(s *model.Snapshot, yield func(classKey, Class)) {
	tables := make(map[string]*model.RouteTable, len(s.RouteTables))
	for _, t := range s.RouteTables {
		tables[t.Name] = t
	}
	for _, l := range s.Listeners {
		for _, b := range l.Tables {
			t := tables[b.Table]
			if t == nil {
				continue
			}
			for i := range t.Entries {
				hostnames := t.Entries[i].Hostnames
				if len(hostnames) == 0 {
					hostnames = []string{b.Hostname}
				}
				matches := t.Entries[i].Route.Matches
				for j := range matches {
					for _, h := range hostnames {
						c := Class{Listener: l.Name, Hostname: h, Match: classText(&matches[j]), match: &matches[j]}
						yield(classKey{l.Name, h, matches[j].String()}, c)
					}
				}
			}
		}
	}
}

// unlikely is a label and path segment that nobody uses: an example of "anything".
const unlikely = "any--weir"

// example returns a request of the class, one that is as unlikely as can be to be in a
// narrower class too. ok is false where none can be made up.
func (c Class) example() (*parsed, bool) {
	p := &parsed{method: "GET", scheme: "http", listener: c.Listener, host: unlikely}
	if c.match.Method != "" {
		p.method = c.match.Method
	}
	if rest, wild := strings.CutPrefix(c.Hostname, "*"); wild {
		p.host = unlikely + rest
	} else if c.Hostname != "" {
		p.host = c.Hostname
	}
	p.authority, p.serverName = p.host, p.host
	switch c.match.Path.Type {
	case model.MatchExact:
		p.rawPath = c.match.Path.Value
	case model.MatchPrefix:
		p.rawPath = strings.TrimRight(c.match.Path.Value, "/") + "/" + unlikely
	default:
		text, ok := exampleOf(c.match.Path.Value)
		if !ok || !strings.HasPrefix(text, "/") {
			return nil, false
		}
		p.rawPath = text
	}
	var scratch []byte
	if normal, wrong := uri.NormalPath([]byte(p.rawPath), &scratch, model.EscapeKeep); wrong != nil || string(normal) != p.rawPath {
		return nil, false
	}
	for _, h := range c.match.Headers {
		text, ok := valueExample(h)
		if !ok {
			return nil, false
		}
		p.headers = append(p.headers, Header{h.Name, text})
	}
	var query []string
	for _, q := range c.match.Query {
		text, ok := valueExample(q)
		if !ok {
			return nil, false
		}
		query = append(query, url.QueryEscape(q.Name)+"="+url.QueryEscape(text))
	}
	p.query = strings.Join(query, "&")
	return p, true
}

func valueExample(v model.ValueMatch) (string, bool) {
	if v.Type == model.MatchRegex {
		return exampleOf(v.Value)
	}
	return v.Value, true
}

// exampleOf returns a text that a regular expression matches as a whole: the shortest way
// through it.
func exampleOf(pattern string) (string, bool) {
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return "", false
	}
	var b strings.Builder
	appendExample(&b, tree)
	whole, err := match.Whole(pattern)
	return b.String(), err == nil && whole.MatchString(b.String())
}

func appendExample(b *strings.Builder, r *syntax.Regexp) {
	switch r.Op {
	case syntax.OpLiteral:
		b.WriteString(string(r.Rune))
	case syntax.OpCharClass:
		b.WriteRune(classExample(r.Rune))
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		b.WriteByte('a')
	case syntax.OpCapture, syntax.OpConcat:
		for _, sub := range r.Sub {
			appendExample(b, sub)
		}
	case syntax.OpPlus, syntax.OpAlternate:
		appendExample(b, r.Sub[0])
	case syntax.OpRepeat:
		for range r.Min {
			appendExample(b, r.Sub[0])
		}
	}
}

// classExample returns a character of a class, one that needs no escape if there is any.
func classExample(ranges []rune) rune {
	for _, want := range "a0A-_" {
		for i := 0; i+1 < len(ranges); i += 2 {
			if ranges[i] <= want && want <= ranges[i+1] {
				return want
			}
		}
	}
	for i := 0; i+1 < len(ranges); i += 2 {
		if c := max(ranges[i], '!'); c <= ranges[i+1] && c <= '~' {
			return c
		}
	}
	return ranges[0]
}
