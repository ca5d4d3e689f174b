package console

import (
	"cmp"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
)

// ordered is a list whose items count requests and can be sorted by them.
type ordered[T, V any] struct {
	items  []keyed[T]
	series func(T) seriesKey
	show   func(T) V
	lately func(*V) *lately // of what show returned
}

// order is what ?sort asks for: by which figure, the highest first.
type order struct {
	standing func(standing) float32
	lately   func(*lately) float64
}

var orders = map[string]*order{
	"": nil, "name": nil,
	"rate":   {func(s standing) float32 { return s.rate }, func(l *lately) float64 { return l.Rate }},
	"errors": {func(s standing) float32 { return s.errors }, (*lately).errors},
	"p99":    {func(s standing) float32 { return s.p99 }, func(l *lately) float64 { return l.P99 }},
}

var sorting = []parameter{{"sort", "string", "name (the default); or rate, errors or p99: the highest of the last seconds first"}}

// orderOf reads ?sort. It answers 400 itself and returns false if it is wrong.
func orderOf(w http.ResponseWriter, q url.Values) (*order, bool) {
	o, known := orders[q.Get("sort")]
	if !known {
		problem{
			Status: http.StatusBadRequest, Title: "wrong sort", Where: "query parameter sort",
			Detail: fmt.Sprintf("nothing is sorted by %q", q.Get("sort")), Remedy: "give name, rate, errors or p99",
		}.write(w)
	}
	return o, known
}

// serve answers one page. What the pages are cut from is sorted by figures of the last
// seconds, which stand still for a while; a page itself by what it shows.
func (l ordered[T, V]) serve(c *Console, w http.ResponseWriter, q url.Values) {
	o, ok := orderOf(w, q)
	if !ok {
		return
	}
	p, ok := pageOf(w, q)
	if !ok {
		return
	}
	if o != nil {
		l.items = l.by(c.recorder, o)
	}
	answer(w, pageList(c, p, l.items, func(part []keyed[T]) []V {
		out := make([]V, len(part))
		for i, it := range part {
			out[i] = l.show(it.item)
		}
		if o != nil {
			slices.SortStableFunc(out, func(a, b V) int { return cmp.Compare(o.lately(l.lately(&b)), o.lately(l.lately(&a))) })
		}
		return out
	}))
}

// by sorts the items by a figure, the highest first, and equal ones by their keys.
func (l ordered[T, V]) by(r *recorder, o *order) []keyed[T] {
	keys := make([]seriesKey, len(l.items))
	for i, it := range l.items {
		keys[i] = l.series(it.item)
	}
	out := make([]keyed[T], len(l.items))
	for i, s := range r.standings(keys) {
		// The bits of positive numbers sort as they do.
		out[i] = keyed[T]{fmt.Sprintf("%08x", math.MaxUint32-math.Float32bits(o.standing(s))) + l.items[i].key, l.items[i].item}
	}
	return sorted(out)
}
