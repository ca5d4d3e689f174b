package match

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"weir.dev/weir/model"
)

// condition compares one header or query parameter.
type condition struct {
	name  string
	exact string
	regex *regexp.Regexp // instead of exact if set
}

// compiled is a match without its entry.
type compiled struct {
	class      int8
	precedence uint32 // of a call
	path       string
	regex      *regexp.Regexp
	headers    []condition
	query      []condition
}

// compiler keeps what is shared between matches: each regular expression once.
type compiler struct {
	patterns map[string]*regexp.Regexp
	errs     []error
}

func (c *compiler) compile(m *model.Match) (compiled, error) {
	class, ok := classOf(m.Path)
	if !ok {
		return compiled{}, fmt.Errorf("path match of unknown type %q", m.Path.Type)
	}
	p := compiled{class: class, path: m.Path.Value}
	if class == classCall {
		p.precedence = m.Path.Precedence
	}
	var err error
	switch class {
	case classPrefix, classRoot:
		p.path = strings.TrimRight(p.path, "/")
	case classRegex, classCall:
		if p.regex, err = c.regex(p.path); err != nil {
			return compiled{}, fmt.Errorf("path %q: %w", p.path, err)
		}
	}
	if p.headers, err = c.conditions(m.Headers); err != nil {
		return compiled{}, fmt.Errorf("header %w", err)
	}
	if p.query, err = c.conditions(m.Query); err != nil {
		return compiled{}, fmt.Errorf("query parameter %w", err)
	}
	return p, nil
}

// conditions leaves out later matches of a name that came before: Gateway API considers
// only the first, so they do not count for precedence either.
func (c *compiler) conditions(matches []model.ValueMatch) ([]condition, error) {
	if len(matches) == 0 {
		return nil, nil
	}
	list := make([]condition, 0, len(matches))
	for _, m := range matches {
		if named(list, m.Name) {
			continue
		}
		k := condition{name: m.Name}
		switch m.Type {
		case model.MatchExact:
			k.exact = m.Value
		case model.MatchRegex:
			re, err := c.regex(m.Value)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", m.Name, err)
			}
			k.regex = re
		default:
			return nil, fmt.Errorf("%s: match of unknown type %q", m.Name, m.Type)
		}
		list = append(list, k)
	}
	return list, nil
}

func named(list []condition, name string) bool {
	for i := range list {
		if list[i].name == name {
			return true
		}
	}
	return false
}

// regex compiles a pattern that must match the whole value.
func (c *compiler) regex(pattern string) (*regexp.Regexp, error) {
	if re, ok := c.patterns[pattern]; ok {
		return re, nil
	}
	re, err := Whole(pattern)
	if err != nil {
		return nil, err
	}
	c.patterns[pattern] = re
	return re, nil
}

func (k *condition) matchesHeader(h Headers) bool {
	if h == nil {
		return false
	}
	value, ok := h.Joined(k.name)
	if !ok {
		return false
	}
	if k.regex != nil {
		return k.regex.Match(value)
	}
	return string(value) == k.exact
}

// matchesQuery compares the first parameter of the condition's name. Names and values
// are compared decoded: %XX, and + for a space; an invalid escape stands for itself.
func (k *condition) matchesQuery(query []byte) bool {
	for len(query) > 0 {
		parameter, rest, _ := bytes.Cut(query, []byte{'&'})
		query = rest
		name, value, _ := bytes.Cut(parameter, []byte{'='})
		if len(parameter) == 0 || !decodesTo(name, k.name) {
			continue
		}
		if k.regex != nil {
			return matchDecoded(k.regex, value)
		}
		return decodesTo(value, k.exact)
	}
	return false
}

// decodesTo reports whether raw, decoded, equals want.
func decodesTo(raw []byte, want string) bool {
	at := 0
	for i := 0; i < len(raw); at++ {
		if at >= len(want) {
			return false
		}
		c, n := decodeOne(raw[i:])
		if c != want[at] {
			return false
		}
		i += n
	}
	return at == len(want)
}

// decodeBuffers holds room for decoded values: regexp lets its input escape, so a
// buffer on the stack would cost an allocation each time.
var decodeBuffers = sync.Pool{New: func() any { return new([]byte) }}

// maxKeptBuffer bounds what the pool keeps, in bytes.
const maxKeptBuffer = 4096

func matchDecoded(re *regexp.Regexp, raw []byte) bool {
	if bytes.IndexByte(raw, '%') < 0 && bytes.IndexByte(raw, '+') < 0 {
		return re.Match(raw)
	}
	buffer := decodeBuffers.Get().(*[]byte)
	b := (*buffer)[:0]
	for i := 0; i < len(raw); {
		c, n := decodeOne(raw[i:])
		b = append(b, c)
		i += n
	}
	matched := re.Match(b)
	if cap(b) <= maxKeptBuffer {
		*buffer = b
		decodeBuffers.Put(buffer)
	}
	return matched
}

// decodeOne decodes the first character and returns how many bytes it takes.
func decodeOne(raw []byte) (byte, int) {
	switch {
	case raw[0] == '+':
		return ' ', 1
	case raw[0] == '%' && len(raw) >= 3:
		high, low := unhex(raw[1]), unhex(raw[2])
		if high >= 0 && low >= 0 {
			return byte(high<<4 | low), 3
		}
	}
	return raw[0], 1
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
