// Package compare says what differs between two answers to one request, and keeps what many such
// comparisons have found: by place, with what the primary differs in from itself set against it. It is pure: answers
// come as bytes that somebody else has read, and time as an argument. How copies are sent, and
// how many, is dataplane/shadow's.
package compare

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"

	"weir.dev/weir/model"
)

// Answer is what is compared of an answer.
type Answer struct {
	Status  int
	Headers [][]byte // the values of Headers, by their place; nil: it has no such header
	Coding  []byte   // Content-Encoding; empty: none
	Body    []byte   // without the framing of HTTP
}

// Difference is one place where two answers differ.
type Difference struct {
	Field          string // status, header NAME, body, or a JSON path with [*] for any index
	Primary, Other string // shortened; model.Redacted where the place's name says that it may be a secret
}

// maxDifferences bounds what one comparison finds; maxShown the bytes that are shown of a value.
// maxLooked is where what may be a secret is looked for.
const (
	maxDifferences = 100
	maxShown       = 80
	maxLooked      = 1000
)

const absent = "absent"

// Comparer compares pairs of answers as one policy says. It is immutable.
type Comparer struct {
	status  bool
	headers []string
	body    model.BodyComparison
	ignored paths
	walks   sync.Pool // of *walk
}

// Compile makes a Comparer. Beyond 64 paths to ignore, and with a path that ParsePath refuses,
// it returns an error and a Comparer without these.
func Compile(m *model.Compare) (*Comparer, error) {
	c := &Comparer{status: m.Status, headers: m.Headers, body: m.Body}
	c.walks.New = func() any { return new(walk) }
	var err error
	for _, text := range m.Ignore {
		path, wrong := parsePath(text)
		if wrong == nil && len(c.ignored) == maxPaths {
			wrong = fmt.Errorf("more than %d paths to ignore", maxPaths)
		}
		if wrong != nil {
			err = wrong
			continue
		}
		c.ignored = append(c.ignored, path)
	}
	return c, err
}

// Headers are the names, in lower case, whose values an Answer has.
func (c *Comparer) Headers() []string { return c.headers }

// WantsBody reports whether bodies are compared.
func (c *Comparer) WantsBody() bool {
	return c.body == model.CompareJSON || c.body == model.CompareBytes
}

// Compare appends to dst what differs between two answers, each place once and a hundred of them at most. It is false where bodies
// are to be compared and cannot be: a coding is not gzip, or its content is longer than
// limit bytes. It may be called by many at a time.
func (c *Comparer) Compare(dst []Difference, primary, other *Answer, limit int) ([]Difference, bool) {
	found := findings{list: dst, from: len(dst)}
	if c.status && primary.Status != other.Status {
		found.add("status", strconv.Itoa(primary.Status), strconv.Itoa(other.Status))
	}
	for i, name := range c.headers {
		a, b := headerAt(primary, i), headerAt(other, i)
		if (a == nil) != (b == nil) || !bytes.Equal(a, b) {
			found.add("header "+name, showHeader(a), showHeader(b))
		}
	}
	if !c.WantsBody() || bytes.Equal(primary.Body, other.Body) && bytes.EqualFold(primary.Coding, other.Coding) {
		return found.list, true
	}
	w := c.walks.Get().(*walk)
	defer c.walks.Put(w)
	w.found, w.paths = found, c.ignored
	defer func() { w.found, w.a.text, w.b.text = findings{}, nil, nil }()
	a, known := decoded(primary, limit)
	b, alsoKnown := decoded(other, limit)
	if !known || !alsoKnown {
		return found.list, false
	}
	if c.body == model.CompareJSON && w.a.parse(a) && w.b.parse(b) {
		w.field = append(w.field[:0], '$')
		w.compare(0, 0, c.ignored.all(), 0)
	} else if !bytes.Equal(a, b) {
		w.found.add("body", showBody(a, b), showBody(b, a))
	}
	return w.found.list, true
}

// decoded returns the content of an answer's body.
func decoded(a *Answer, limit int) (content []byte, known bool) {
	switch coding := bytes.TrimSpace(a.Coding); {
	case len(coding) == 0 || len(a.Body) == 0 || bytes.EqualFold(coding, []byte("identity")):
		return a.Body, true
	case !bytes.EqualFold(coding, []byte("gzip")):
		return nil, false
	}
	r, err := gzip.NewReader(bytes.NewReader(a.Body))
	if err != nil {
		return nil, false
	}
	content, err = io.ReadAll(io.LimitReader(r, int64(limit)+1))
	return content, err == nil && len(content) <= limit
}

func headerAt(a *Answer, i int) []byte {
	if i < len(a.Headers) {
		return a.Headers[i]
	}
	return nil
}

func showHeader(value []byte) string {
	if value == nil {
		return absent
	}
	return strconv.Quote(shorten(value))
}

// showBody says where bytes begin to differ, and never what they are.
func showBody(a, b []byte) string {
	at := 0
	for at < len(a) && at < len(b) && a[at] == b[at] {
		at++
	}
	return fmt.Sprintf("%d bytes, the first %d of them alike", len(a), at)
}

// shorten returns the beginning of a text, in which what cannot be printed is a question mark, and what looks
// like a secret is not shown.
func shorten(value []byte) string {
	text := string(value[:min(len(value), maxLooked)])
	text = pairs.ReplaceAllStringFunc(text, func(pair string) string {
		name, secret, _ := strings.Cut(pair, "=")
		return name + "=" + model.Hidden(name, secret)
	})
	text = secrets.ReplaceAllString(text, "${1}${2}"+model.Redacted)
	cut := len(text) > maxShown || len(value) > maxLooked
	if cut {
		text = text[:min(len(text), maxShown)]
	}
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
	if cut {
		text += "..."
	}
	return text
}

// What may be a secret inside a value: parameters by their names, as in a URL; and credentials by what is before
// them, or by how they begin, as of a JSON Web Token.
var (
	pairs   = regexp.MustCompile(`[^\s=&;,?"'/]+=[^\s&;,"']+`)
	secrets = regexp.MustCompile(`((?i:bearer|basic|digest)\s+)[\w.~+/=-]+|(://)[^\s/@]+@|\beyJ[\w-]+\.[\w.-]+`)
)

// findings are the differences of one comparison, the first of each place.
type findings struct {
	list []Difference
	from int // where they begin in list
}

func (f *findings) full() bool { return len(f.list)-f.from >= maxDifferences }

// has reports whether a place is among them, or there is no room for more.
func (f *findings) has(field []byte) bool {
	return f.full() || slices.ContainsFunc(f.list[f.from:], func(d Difference) bool { return d.Field == string(field) })
}

func (f *findings) add(field, primary, other string) {
	field = strings.ToValidUTF8(field, "?")
	if f.full() || slices.ContainsFunc(f.list[f.from:], func(d Difference) bool { return d.Field == field }) {
		return
	}
	f.list = append(f.list, Difference{field, model.Hidden(field, primary), model.Hidden(field, other)})
}
