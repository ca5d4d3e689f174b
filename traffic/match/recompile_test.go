package match

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestRecompileIsCompile edits lists of entries at random and compares the table that is
// made of the last one with one that is compiled afresh. The tables of former lists must
// not have changed.
func TestRecompileIsCompile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entries := genEntries(t)
		table, err := Compile(entries)
		if err != nil {
			t.Fatal(err)
		}
		type version struct {
			entries []Entry[int]
			table   *Table[int]
		}
		versions := []version{{entries, table}}
		for range rapid.IntRange(1, 5).Draw(t, "edits") {
			next := edit(t, entries)
			if table, err = recompile(table, entries, next); err != nil {
				t.Fatal(err)
			}
			entries = next
			versions = append(versions, version{entries, table})
		}
		for range 20 {
			r, _ := genRequest(t)
			for i, v := range versions {
				fresh, err := Compile(v.entries)
				if err != nil {
					t.Fatal(err)
				}
				want, found := fresh.Find(r)
				if got, ok := v.table.Find(r); got != want || ok != found {
					t.Fatalf("version %d of %d: Find(%s %s%s) = %v %v, want %v %v", i, len(versions), r.Method, r.Host, r.Path, got, ok, want, found)
				}
			}
		}
	})
}

// edit returns the list with entries changed, added, removed and moved.
func edit(t *rapid.T, entries []Entry[int]) []Entry[int] {
	next := slices.Clone(entries)
	for range rapid.IntRange(0, 3).Draw(t, "steps") {
		made := genEntries(t)[0]
		made.Value = rapid.IntRange(1000, 1_000_000).Draw(t, "value")
		at := rapid.IntRange(0, max(0, len(next)-1)).Draw(t, "at")
		switch what := rapid.IntRange(0, 3).Draw(t, "what"); {
		case len(next) == 0 || what == 0:
			next = slices.Insert(next, at, made)
		case what == 1:
			next = slices.Delete(next, at, at+1)
		case what == 2:
			next[at] = made
		default:
			to := rapid.IntRange(0, len(next)-1).Draw(t, "to")
			next[at], next[to] = next[to], next[at]
		}
	}
	return next
}

// recompile does what callers do: it compares the lists place by place.
func recompile(table *Table[int], from, to []Entry[int]) (*Table[int], error) {
	same := func(a, b *Entry[int]) bool {
		return a.Value == b.Value && slices.Equal(a.Hostnames, b.Hostnames) && &a.Matches[0] == &b.Matches[0]
	}
	var c Changed
	for i := range max(len(from), len(to)) {
		switch {
		case i >= len(from):
			c.Add(to[i].Hostnames)
		case i >= len(to):
			c.Add(from[i].Hostnames)
		case !same(&from[i], &to[i]):
			c.Add(from[i].Hostnames)
			c.Add(to[i].Hostnames)
		}
	}
	var concerned []Entry[int]
	for _, e := range to {
		if c.Concerns(e.Hostnames) {
			concerned = append(concerned, e)
		}
	}
	return table.Recompile(&c, concerned)
}

// TestIndexIsAMap does the same to an index, copies of it, and maps.
func TestIndexIsAMap(t *testing.T) {
	type pair struct {
		index index[int]
		model map[string]int
	}
	random := rand.New(rand.NewPCG(1, 2))
	name := func() string { return fmt.Sprint(random.IntN(1500)) }
	all := []*pair{{model: map[string]int{}}}
	for i := range 20_000 {
		p := all[random.IntN(len(all))]
		switch random.IntN(12) {
		case 0:
			if len(all) < 8 {
				copied := &pair{index: p.index.clone(), model: map[string]int{}}
				for k, v := range p.model {
					copied.model[k] = v
				}
				all = append(all, copied)
			}
		case 1, 2, 3:
			n := name()
			p.index.remove(n)
			delete(p.model, n)
		default:
			n := name()
			p.index.set(n, i, true)
			p.model[n] = i
		}
	}
	for _, p := range all {
		count := 0
		for n, v := range p.index.all() {
			if count++; p.model[n] != v {
				t.Errorf("all: %s = %d, want %d", n, v, p.model[n])
			}
		}
		if count != len(p.model) || p.index.n != count {
			t.Errorf("%d names, n = %d, want %d", count, p.index.n, len(p.model))
		}
		for i := range 1500 {
			n := fmt.Sprint(i)
			want, there := p.model[n]
			if v, ok := p.index.get([]byte(n)); v != want || ok != there {
				t.Errorf("get(%s) = %d %v, want %d %v", n, v, ok, want, there)
			}
		}
	}
}

// BenchmarkRecompile changes one host of ten thousand.
func BenchmarkRecompile(b *testing.B) {
	entries := hostEntries(10_000)
	table := mustCompile(b, entries)
	var c Changed
	c.Add(entries[5000].Hostnames)
	for b.Loop() {
		var concerned []Entry[int]
		for i := range entries {
			if c.Concerns(entries[i].Hostnames) {
				concerned = append(concerned, entries[i])
			}
		}
		if _, err := table.Recompile(&c, concerned); err != nil {
			b.Fatal(err)
		}
	}
}
