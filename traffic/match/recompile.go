package match

import (
	"errors"
	"regexp"
	"strings"
)

// Changed is the set of hostnames at which two lists of entries differ. The zero Changed is
// empty.
type Changed struct {
	names map[string]struct{}
	few   []string // names, while they are few: comparing is cheaper than hashing
}

// fewNames is how many names are compared one by one.
const fewNames = 4

// Add adds the hostnames of an entry that is in one of the lists only, or not at the same
// place in both.
func (c *Changed) Add(hostnames []string) {
	if len(hostnames) == 0 {
		c.addOne("")
	}
	for _, h := range hostnames {
		c.addOne(strings.ToLower(h))
	}
}

func (c *Changed) addOne(name string) {
	if _, ok := c.names[name]; ok {
		return
	}
	if c.names == nil {
		c.names = map[string]struct{}{}
	}
	c.names[name] = struct{}{}
	c.few = append(c.few, name)
	if len(c.few) > fewNames {
		c.few = nil
	}
}

// Len returns the number of hostnames.
func (c *Changed) Len() int { return len(c.names) }

// Concerns tells whether an entry with these hostnames is attached to one of them.
func (c *Changed) Concerns(hostnames []string) bool {
	if len(hostnames) == 0 {
		return c.has("")
	}
	for _, h := range hostnames {
		if c.has(h) {
			return true
		}
	}
	return false
}

func (c *Changed) has(hostname string) bool {
	if len(c.names) <= fewNames {
		for _, name := range c.few {
			if len(name) == len(hostname) && name == strings.ToLower(hostname) {
				return true
			}
		}
		return false
	}
	_, ok := c.names[strings.ToLower(hostname)]
	return ok
}

// Recompile returns the table that Compile would make of a list of entries, given the table
// of another list and the hostnames at which they differ. Entries are those of the new list
// that c concerns, in their order. It costs what they are, not what the list is: both tables
// share the rest. Matches that cannot be compiled are left out, and the error numbers
// entries as they are given.
func (t *Table[T]) Recompile(c *Changed, entries []Entry[T]) (*Table[T], error) {
	total := 0
	for i := range entries {
		total += len(entries[i].Matches)
	}
	work := compiler{patterns: map[string]*regexp.Regexp{}}
	all := make([]candidate[T], 0, total)
	groups := make(map[string]*paths[T], c.Len())
	for i := range entries {
		first := len(all)
		all = appendCandidates(all, &entries[i], i, &work)
		if first == len(all) {
			continue
		}
		hostnames := entries[i].Hostnames
		if len(hostnames) == 0 {
			hostnames = everyHost
		}
		for _, h := range hostnames {
			if h = strings.ToLower(h); !c.has(h) {
				continue
			}
			if groups[h] == nil {
				groups[h] = &paths[T]{}
			}
			groups[h].add(all[first:])
		}
	}
	next := &Table[T]{hosts: t.hosts.clone()}
	for name := range c.names {
		p := groups[name]
		if p == nil {
			next.hosts.remove(name)
			continue
		}
		p.index()
		next.hosts.set(name, p, true)
	}
	return next, errors.Join(work.errs...)
}

var everyHost = []string{""}
