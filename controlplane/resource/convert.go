package resource

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bounds of one document. Anchors make small files large, so what aliases expand to counts.
const (
	maxDepth    = 64
	maxExpanded = 100_000 // values below aliases
)

// usualFields is how many fields most objects have at most.
const usualFields = 32

// converter turns the nodes of one object into what JSON could say, and remembers where
// each field was written. Lines are those of the node.
type converter struct {
	fields   places
	problems []problem
	expanded int
	refused  bool // a bound was exceeded
}

// step is one step of a path, linked to those before it: the path's text is only needed
// for problems, its hash for every field.
type step struct {
	parent *step
	key    string
	index  int // of a list, when key is empty
	hash   uint64
}

const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

// extend continues an FNV-1a hash, which is that of the text so far, with more text.
func extend(h uint64, text string) uint64 {
	for i := range len(text) {
		h = (h ^ uint64(text[i])) * fnvPrime
	}
	return h
}

func (s *step) field(key string) step {
	if s.parent == nil {
		return step{parent: s, key: key, hash: extend(fnvOffset, key)}
	}
	return step{parent: s, key: key, hash: extend(extend(s.hash, "."), key)}
}

func (s *step) element(i int) step {
	return step{parent: s, index: i, hash: extend(extend(extend(s.hash, "["), strconv.Itoa(i)), "]")}
}

// String returns the path: spec.rules[0].name.
func (s *step) String() string {
	if s.parent == nil {
		return ""
	}
	if s.key == "" {
		return s.parent.String() + "[" + strconv.Itoa(s.index) + "]"
	}
	return joinPath(s.parent.String(), s.key)
}

// object converts a mapping that is a whole object.
func (c *converter) object(node *yaml.Node) map[string]any {
	v, _ := c.value(node, &step{hash: fnvOffset}, maxDepth, false).(map[string]any)
	slices.SortFunc(c.fields, comparePlaces)
	return v
}

func (c *converter) report(node *yaml.Node, at *step, format string, args ...any) {
	c.problems = append(c.problems, problem{
		rule: RuleSyntax, at: placeOf(node), field: at.String(), message: fmt.Sprintf(format, args...),
	})
}

// value converts one node. Once a bound is exceeded it returns nil: the object is refused.
func (c *converter) value(node *yaml.Node, at *step, depth int, aliased bool) any {
	if aliased {
		c.expanded++
	}
	switch {
	case c.refused:
		return nil
	case depth == 0:
		c.refused = true
		c.report(node, at, "nested deeper than %d levels", maxDepth)
		return nil
	case c.expanded > maxExpanded:
		c.refused = true
		c.report(node, at, "aliases expand to more than %d values", maxExpanded)
		return nil
	}
	switch node.Kind {
	case yaml.AliasNode:
		return c.value(node.Alias, at, depth-1, true)
	case yaml.MappingNode:
		return c.mapping(node, at, depth, aliased)
	case yaml.SequenceNode:
		list := make([]any, len(node.Content))
		for i, n := range node.Content {
			s := at.element(i)
			c.place(n, &s)
			list[i] = c.value(n, &s, depth-1, aliased)
		}
		return list
	default:
		return c.scalar(node, at)
	}
}

func (c *converter) place(node *yaml.Node, at *step) {
	p := placeOf(node)
	p.path = at.hash
	c.fields = append(c.fields, p)
}

// mapping converts a mapping. Fields that are written win over those that are merged in.
func (c *converter) mapping(node *yaml.Node, at *step, depth int, aliased bool) map[string]any {
	object := make(map[string]any, len(node.Content)/2)
	var merges []*yaml.Node
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if key.Tag == "!!merge" {
			merges = append(merges, value)
			continue
		}
		name, ok := c.key(key, at)
		if !ok {
			continue
		}
		s := at.field(name)
		if _, twice := object[name]; twice {
			c.report(key, &s, "duplicate key")
			continue
		}
		c.place(key, &s)
		object[name] = c.value(value, &s, depth-1, aliased)
	}
	for _, m := range merges {
		c.merge(object, m, at, depth)
	}
	return object
}

// merge adds the fields of a merge key's value (<<: *base, or a list of such) that object
// does not have.
func (c *converter) merge(object map[string]any, node *yaml.Node, at *step, depth int) {
	if c.expanded++; c.expanded > maxExpanded && !c.refused {
		c.refused = true
		c.report(node, at, "aliases expand to more than %d values", maxExpanded)
	}
	switch {
	case c.refused:
	case depth == 0:
		c.refused = true
		c.report(node, at, "nested deeper than %d levels", maxDepth)
	case node.Kind == yaml.AliasNode:
		c.merge(object, node.Alias, at, depth-1)
	case node.Kind == yaml.SequenceNode:
		for _, n := range node.Content {
			c.merge(object, n, at, depth-1)
		}
	case node.Kind == yaml.MappingNode:
		inner := converter{expanded: c.expanded}
		merged := inner.mapping(node, at, depth-1, true)
		c.expanded, c.refused = inner.expanded, c.refused || inner.refused
		c.problems = append(c.problems, inner.problems...)
		for name, v := range merged {
			if _, written := object[name]; !written {
				object[name] = v
			}
		}
	default:
		c.report(node, at, "<< merges mappings; expected an alias of one")
	}
}

// key returns the name that a key stands for.
func (c *converter) key(node *yaml.Node, at *step) (string, bool) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node.Kind != yaml.ScalarNode {
		c.report(node, at, "a key must be a string")
		return "", false
	}
	switch tag := node.ShortTag(); {
	case tag == "!!bool" || tag == "!!null" || isYAML11Bool(node):
		c.report(node, at, "the key %s is a boolean or null; quote it: %q", node.Value, node.Value)
		return "", false
	case tag == "!!str" || tag == "!!int" || tag == "!!float" || tag == "!!timestamp":
		return node.Value, true
	default:
		c.report(node, at, "tag %s is not supported", tag)
		return "", false
	}
}

// scalar converts a scalar as kubectl would: YAML 1.2, but for the booleans of YAML 1.1.
func (c *converter) scalar(node *yaml.Node, at *step) any {
	switch tag := node.ShortTag(); tag {
	case "!!str":
		if isYAML11Bool(node) {
			return yaml11Bools[node.Value]
		}
		return node.Value
	case "!!timestamp":
		return node.Value
	case "!!null":
		return nil
	case "!!bool":
		return strings.EqualFold(node.Value, "true") || yaml11Bools[node.Value]
	case "!!int", "!!float":
		v, ok := number(node.Value)
		if !ok {
			c.report(node, at, "%s is not a number that JSON has", node.Value)
		}
		return v
	default:
		c.report(node, at, "tag %s is not supported", tag)
		return nil
	}
}

// number converts a number. Whole numbers are integers however they are written, as they
// are once kubectl has made JSON of them.
func number(text string) (any, bool) {
	plain := strings.ReplaceAll(text, "_", "")
	if i, err := strconv.ParseInt(plain, 0, 64); err == nil {
		return i, true
	}
	if after, ok := strings.CutPrefix(plain, "0o"); ok {
		if i, err := strconv.ParseInt(after, 8, 64); err == nil {
			return i, true
		}
	}
	f, err := strconv.ParseFloat(plain, 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return nil, false
	}
	if f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		return int64(f), true
	}
	return f, true
}

// yaml11Bools are the words that kubectl, whose YAML is 1.1, takes for booleans and that
// YAML 1.2 does not.
var yaml11Bools = map[string]bool{
	"y": true, "Y": true, "yes": true, "Yes": true, "YES": true, "on": true, "On": true, "ON": true,
	"n": false, "N": false, "no": false, "No": false, "NO": false, "off": false, "Off": false, "OFF": false,
}

// isYAML11Bool tells whether the node is such a word, neither quoted nor tagged.
func isYAML11Bool(node *yaml.Node) bool {
	if node.Kind != yaml.ScalarNode || node.Style != 0 {
		return false
	}
	_, is := yaml11Bools[node.Value]
	return is
}
