package console

import (
	"fmt"
	"net/http"
	"strings"
)

// pageList is one page of sorted items, shown by show.
func pageList[T, V any](c *Console, p page, items []keyed[T], show func([]keyed[T]) []V) list[V] {
	part, next := cut(p, items)
	out := list[V]{Total: len(items), Items: show(part), Continue: next}
	if s, _ := c.cfg.Live.Snapshot(); s != nil {
		out.Revision = s.Revision
	}
	return out
}

// serveList answers one page of sorted items, each shown by show.
func serveList[T, V any](c *Console, w http.ResponseWriter, p page, items []keyed[T], show func(T) V) {
	answer(w, pageList(c, p, items, func(part []keyed[T]) []V {
		out := make([]V, len(part))
		for i, it := range part {
			out[i] = show(it.item)
		}
		return out
	}))
}

func (c *Console) serveObjects(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	p, ok := pageOf(w, q)
	if !ok {
		return
	}
	text := strings.ToLower(q.Get("q"))
	var items []keyed[Object]
	for _, o := range c.cfg.Objects.Objects() {
		if !fits(q, "namespace", o.Namespace) || !fits(q, "name", o.Name) ||
			q.Has("kind") && !strings.EqualFold(q.Get("kind"), o.Kind) {
			continue
		}
		if accepted := q.Get("accepted"); accepted != "" && (accepted == "true") != o.Accepted {
			continue
		}
		if !strings.Contains(strings.ToLower(o.Kind+" "+o.Namespace+"/"+o.Name+" "+o.At.File), text) {
			continue
		}
		items = append(items, keyed[Object]{strings.Join([]string{o.Kind, o.Namespace, o.Name, o.Group}, "\x00"), o})
	}
	serveList(c, w, p, sorted(items), func(o Object) Object {
		problems := make([]Diagnostic, len(o.Problems))
		for i, d := range o.Problems {
			problems[i] = withoutSecrets(o.Kind, d)
		}
		o.Problems = problems
		return o
	})
}

func (c *Console) serveDiagnostics(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	p, ok := pageOf(w, q)
	if !ok {
		return
	}
	ranks := map[string]int{"error": 0, "warning": 1, "info": 2}
	text := strings.ToLower(q.Get("q"))
	var items []keyed[Diagnostic]
	for _, d := range c.cfg.Objects.Diagnostics() {
		if q.Has("severity") && q.Get("severity") != d.Severity || q.Has("object") && q.Get("object") != d.Object {
			continue
		}
		kind, _, _ := strings.Cut(d.Object, " ")
		d = withoutSecrets(kind, d)
		if !strings.Contains(strings.ToLower(d.Object+" "+d.At.File+" "+d.Rule+" "+d.Field+" "+d.Message), text) {
			continue
		}
		key := fmt.Sprintf("%d %s\x00%08d:%08d %s %s", ranks[d.Severity], d.At.File, d.At.Line, d.At.Column, d.Rule, d.Message)
		items = append(items, keyed[Diagnostic]{key, d})
	}
	serveList(c, w, p, sorted(items), func(d Diagnostic) Diagnostic { return d })
}
