package console

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Bounds of a page of a list.
const (
	defaultLimit = 100
	maxLimit     = 500
)

// keyed is an item of a list and the unique key that it is sorted by.
type keyed[T any] struct {
	key  string
	item T
}

// sorted sorts items by their keys. Equal keys get a number behind them, so that a page
// can end between them.
func sorted[T any](items []keyed[T]) []keyed[T] {
	slices.SortStableFunc(items, func(a, b keyed[T]) int { return cmp.Compare(a.key, b.key) })
	base, same := "", 0
	for i := range items {
		if i > 0 && items[i].key == base {
			same++
			items[i].key = fmt.Sprintf("%s\x00%06d", base, same)
			continue
		}
		base, same = items[i].key, 0
	}
	return items
}

// onlyKnown answers 400 to query parameters that next does not know: a mistyped filter must
// not look like one that everything fits.
func onlyKnown(known []parameter, next http.HandlerFunc) http.HandlerFunc {
	names := make([]string, len(known))
	for i, p := range known {
		names[i] = p.name
	}
	return func(w http.ResponseWriter, r *http.Request) {
		q, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			problem{
				Status: http.StatusBadRequest, Title: "wrong query", Where: "query",
				Detail: err.Error(), Remedy: "escape what stands for itself with % and two digits",
			}.write(w)
			return
		}
		for _, name := range slices.Sorted(maps.Keys(q)) {
			if !slices.Contains(names, name) {
				problem{
					Status: http.StatusBadRequest, Title: "unknown query parameter", Where: "query parameter " + name,
					Detail: "it means nothing here", Remedy: "known are " + strings.Join(names, ", "),
				}.write(w)
				return
			}
		}
		next(w, r)
	}
}

// page is the part of a list that a request asks for.
type page struct {
	limit int
	after string // the key of the last item already seen; empty at the start
}

// pageOf reads ?limit and ?continue. It answers 400 itself and returns false if they are
// wrong.
func pageOf(w http.ResponseWriter, q url.Values) (page, bool) {
	p := page{limit: defaultLimit}
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxLimit {
			problem{
				Status: http.StatusBadRequest, Title: "wrong limit", Where: "query parameter limit",
				Detail: fmt.Sprintf("%q is not a number from 1 to %d", text, maxLimit), Remedy: "leave it out or give such a number",
			}.write(w)
			return p, false
		}
		p.limit = n
	}
	after, err := base64.RawURLEncoding.DecodeString(q.Get("continue"))
	if err != nil {
		problem{
			Status: http.StatusBadRequest, Title: "wrong continue", Where: "query parameter continue",
			Detail: "it is not what the page before gave", Remedy: "start again without it",
		}.write(w)
		return p, false
	}
	p.after = string(after)
	return p, true
}

// cut returns the page of sorted items, and the token of the next page, empty on the last.
func cut[T any](p page, items []keyed[T]) ([]keyed[T], string) {
	start := 0
	if p.after != "" {
		i, found := slices.BinarySearchFunc(items, p.after, func(it keyed[T], key string) int { return cmp.Compare(it.key, key) })
		if start = i; found {
			start++
		}
	}
	end := min(start+p.limit, len(items))
	if end == len(items) || end == start {
		return items[start:end], ""
	}
	return items[start:end], base64.RawURLEncoding.EncodeToString([]byte(items[end-1].key))
}
