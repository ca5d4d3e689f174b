package e2e_test

import (
	"bytes"
	"context"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// row is a feature of the table. What is checked of it is what the table has to say yes to.
type row struct {
	name string
	// request checks it for a protocol of requests, carried for one of bytes. They return what
	// is to be checked after the front door's event, if there is one. Nil: it does not apply.
	request func(*cell)
	carried func(*cell)
	// front changes the front door; without it the one that all rows share is asked.
	front func(*front)
	// event happens to the front door once every column's check has begun.
	event func(*testing.T, *front)
	// only and but are the columns with the feature, if not all: what it is checked with.
	only, but []string
}

// applies reports whether the row is checked for a column.
func (r *row) applies(c *column) bool {
	check := r.request
	if c.bytes != nil {
		check = r.carried
	}
	return check != nil && (r.only == nil || slices.Contains(r.only, c.name)) && !slices.Contains(r.but, c.name)
}

// cell is one cell under test.
type cell struct {
	*testing.T
	*front
	column *column
	ctx    context.Context
	r      *requester // of a column of requests
	id     string     // of its own
	after  func()     // what is checked once the event has happened; may be nil
}

// TestProtocols checks every cell of the table in docs/protocols.md in which something is
// promised, and that the table promises what is checked, no more and no less.
func TestProtocols(t *testing.T) {
	t.Parallel()
	table := readTable(t)
	for i := range rows {
		for j := range columns {
			table.check(t, &rows[i], &columns[j])
		}
	}
	table.end(t)
	s := newScenery(t)
	shared := s.raise(t, nil)
	for i := range rows {
		r := &rows[i]
		t.Run(r.name, func(t *testing.T) {
			f := shared
			if r.front != nil || r.event != nil {
				f = s.raise(t, r.front)
			}
			var later []*cell
			for j := range columns {
				c := &columns[j]
				if !r.applies(c) {
					continue
				}
				t.Run(c.name, func(t *testing.T) {
					p := newCell(t, f, r, c)
					p.perform(r)
					if p.after != nil {
						later = append(later, p)
					}
				})
			}
			if r.event == nil {
				return
			}
			r.event(t, f)
			for _, p := range later {
				t.Run("then "+p.column.name, func(t *testing.T) {
					p.T = t
					p.after()
				})
			}
			f.close()
			if code := f.end(t); code != 0 {
				t.Errorf("the process ended with %d", code)
			}
		})
	}
}

// newCell is a cell with a client of its own. What lasts beyond its test, for the event, is
// closed with the row.
func newCell(t *testing.T, f *front, r *row, c *column) *cell {
	t.Helper()
	p := &cell{T: t, front: f, column: c, id: strings.ReplaceAll(t.Name(), "/", "-")}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	p.ctx = ctx
	f.atEnd(cancel)
	if c.requests != nil {
		p.r = p.client(options{})
	}
	return p
}

// client is another client by the column's protocol.
func (p *cell) client(o options) *requester {
	r, err := p.column.requests(p.front, o)
	if err != nil {
		p.Fatal(err)
	}
	r.host = p.column.host + ".test"
	return r
}

// perform checks the cell.
func (p *cell) perform(r *row) {
	if p.column.bytes != nil {
		r.carried(p)
	} else {
		r.request(p)
	}
}

// protocolTable is the table of docs/protocols.md.
type protocolTable struct {
	header []string
	cells  map[string][]string // by feature
	notes  map[string]bool     // that explain a no, and whether one refers to them
	seen   map[string]bool     // features that have a row here
}

var (
	tableRow  = regexp.MustCompile(`(?m)^\| (.*) \|$`)
	tableNote = regexp.MustCompile(`(?m)^(\d+)\. `)
	noCell    = regexp.MustCompile(`^no \((\d+)\)$`)
)

func readTable(t *testing.T) *protocolTable {
	t.Helper()
	page, err := os.ReadFile("../docs/protocols.md")
	if err != nil {
		t.Fatal(err)
	}
	table := &protocolTable{cells: map[string][]string{}, notes: map[string]bool{}, seen: map[string]bool{}}
	for i, m := range tableRow.FindAllSubmatch(bytes.ReplaceAll(page, []byte("**"), nil), -1) {
		cells := strings.Split(string(m[1]), " | ")
		switch {
		case i == 0:
			table.header = cells[1:]
		case strings.HasPrefix(cells[0], "---"):
		case len(cells) != len(table.header)+1 || table.cells[cells[0]] != nil:
			t.Errorf("the row %q has %d cells, or is there twice", cells[0], len(cells))
		default:
			table.cells[cells[0]] = cells[1:]
		}
	}
	for _, m := range tableNote.FindAllSubmatch(page, -1) {
		table.notes[string(m[1])] = false
	}
	var names []string
	for _, c := range columns {
		names = append(names, c.name)
	}
	if !slices.Equal(names, table.header) {
		t.Fatalf("the table has the columns %q, the test %q", table.header, names)
	}
	return table
}

// check compares a cell with whether it is tested.
func (p *protocolTable) check(t *testing.T, r *row, c *column) {
	t.Helper()
	p.seen[r.name] = true
	cells := p.cells[r.name]
	if cells == nil {
		t.Errorf("the table has no row %q, for %s", r.name, c.name)
		return
	}
	cell := cells[slices.Index(p.header, c.name)]
	if (cell == "yes") != r.applies(c) {
		t.Errorf("%s, %s: the table says %q; tested: %t", r.name, c.name, cell, r.applies(c))
	}
	no := noCell.FindStringSubmatch(cell)
	switch {
	case cell == "yes" || cell == "–":
	case no == nil:
		t.Errorf("%s, %s: %q is neither yes, no with the number of a reason, nor –", r.name, c.name, cell)
	default:
		if _, ok := p.notes[no[1]]; !ok {
			t.Errorf("%s, %s: there is no reason %s", r.name, c.name, no[1])
		}
		p.notes[no[1]] = true
	}
}

// end finds what the table has and the test has not.
func (p *protocolTable) end(t *testing.T) {
	t.Helper()
	for name := range p.cells {
		if !p.seen[name] {
			t.Errorf("the table's row %q is not tested", name)
		}
	}
	for note, used := range p.notes {
		if !used {
			t.Errorf("the table's reason %s explains nothing", note)
		}
	}
}
