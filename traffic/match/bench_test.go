package match

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"weir.dev/weir/model"
)

var sizes = []int{10, 1000, 10000}

// hostEntries are n hosts with one rule each.
func hostEntries(n int) []Entry[int] {
	list := make([]Entry[int], n)
	for i := range list {
		list[i] = Entry[int]{
			Hostnames: []string{fmt.Sprintf("host-%d.example.com", i)},
			Matches:   []model.Match{prefix("/")}, Rank: uint32(i), Value: i,
		}
	}
	return list
}

// prefixEntries are n prefixes on one host.
func prefixEntries(n int) []Entry[int] {
	list := make([]Entry[int], n)
	for i := range list {
		list[i] = Entry[int]{
			Hostnames: []string{"shop.example.com"},
			Matches:   []model.Match{prefix(fmt.Sprintf("/service/%d", i))}, Rank: uint32(i), Value: i,
		}
	}
	return list
}

func mustCompile(t testing.TB, entries []Entry[int]) *Table[int] {
	t.Helper()
	table, err := Compile(entries)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestFindDoesNotAllocate(t *testing.T) {
	plain := prefix("/service")
	plain.Method = "GET"
	plain.Headers = []model.ValueMatch{{Name: "a", Type: model.MatchExact, Value: "1"}}
	plain.Query = []model.ValueMatch{{Name: "q", Type: model.MatchExact, Value: "1 2"}}
	expressions := plain
	expressions.Headers = []model.ValueMatch{{Name: "b", Type: model.MatchRegex, Value: "x+"}}
	expressions.Query = []model.ValueMatch{{Name: "p", Type: model.MatchRegex, Value: "x y+"}}
	for name, m := range map[string]model.Match{"plain": plain, "regular expressions": expressions} {
		for _, n := range []int{1, 1000} {
			entries := append(prefixEntries(n), Entry[int]{Hostnames: []string{"*.example.com"}, Matches: []model.Match{m}, Value: -1})
			table := mustCompile(t, entries)
			r := &Request{
				Host: []byte("shop.example.com"), Method: []byte("GET"), Path: []byte("/service/x/y"),
				Query: []byte("q=1+2&p=x%20yy"), Headers: constant{"a": []byte("1"), "b": []byte("xx")},
			}
			if hit, ok := table.Find(r); !ok || hit.Value != -1 {
				t.Fatalf("%s, %d: got %v %v", name, n, hit, ok)
			}
			pooled := racing && name != "plain"
			if allocs := testing.AllocsPerRun(100, func() { table.Find(r) }); allocs != 0 && !pooled {
				t.Errorf("%s, %d entries: %v allocations", name, n, allocs)
			}
		}
	}
}

// constant is Headers that do not allocate.
type constant map[string][]byte

func (c constant) Joined(name string) ([]byte, bool) { v, ok := c[name]; return v, ok }

func BenchmarkFindHost(b *testing.B) {
	for _, n := range sizes {
		table := mustCompile(b, hostEntries(n))
		requests := make([]Request, 64)
		for i := range requests {
			requests[i] = Request{Host: fmt.Appendf(nil, "host-%d.example.com", i*n/64), Method: []byte("GET"), Path: []byte("/products/42")}
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) { benchmarkFind(b, table, requests) })
	}
}

func BenchmarkFindPrefix(b *testing.B) {
	for _, n := range sizes {
		table := mustCompile(b, prefixEntries(n))
		requests := make([]Request, 64)
		for i := range requests {
			requests[i] = Request{Host: []byte("shop.example.com"), Method: []byte("GET"), Path: fmt.Appendf(nil, "/service/%d/products/42", i*n/64)}
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) { benchmarkFind(b, table, requests) })
	}
}

// BenchmarkFindHostile asks with the longest hosts and paths of nothing but separators.
func BenchmarkFindHostile(b *testing.B) {
	entries := append(prefixEntries(1000), Entry[int]{Hostnames: []string{"*.example.com"}, Matches: []model.Match{exact("/")}})
	table := mustCompile(b, entries)
	requests := []Request{{Host: []byte("shop.example.com"), Path: []byte(strings.Repeat("/a", 16<<10))}, {Host: []byte(strings.Repeat("a.", 120) + "example.com"), Path: []byte("/")}}
	for i, name := range []string{"path", "host"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				table.Find(&requests[i])
			}
		})
	}
}

func benchmarkFind(b *testing.B, table *Table[int], requests []Request) {
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, ok := table.Find(&requests[i%len(requests)]); !ok {
			b.Fatal("not found")
		}
		i++
	}
}

func BenchmarkCompile(b *testing.B) {
	for _, n := range sizes {
		for name, entries := range map[string][]Entry[int]{"hosts": hostEntries(n), "prefixes": prefixEntries(n)} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					mustCompile(b, entries)
				}
			})
		}
	}
}

// BenchmarkFindSpread asks for all of 10,000 hosts in a shuffled order, so that what a
// look-up touches is seldom in the processor's cache.
func BenchmarkFindSpread(b *testing.B) {
	table := mustCompile(b, hostEntries(10_000))
	requests := make([]Request, 10_000)
	for i, host := range rand.Perm(len(requests)) {
		requests[i] = Request{Host: fmt.Appendf(nil, "host-%d.example.com", host), Method: []byte("GET"), Path: []byte("/a")}
	}
	for i := 0; b.Loop(); i++ {
		if _, ok := table.Find(&requests[i%len(requests)]); !ok {
			b.Fatal("not found")
		}
	}
}
