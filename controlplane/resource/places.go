package resource

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// places maps the paths of an object's fields to where they were written. Paths are kept as
// 64-bit hashes, sorted: an object of thirty fields costs half a kilobyte.
type places []place

// place is where the field whose path has a hash was written, in lines of its document.
type place struct {
	path         uint64
	line, column uint32
}

// placeBytes is the length of what append appends.
const placeBytes = 16

// append appends the place in a fixed form.
func (p place) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, p.path)
	b = binary.LittleEndian.AppendUint32(b, p.line)
	return binary.LittleEndian.AppendUint32(b, p.column)
}

func placeOf(node *yaml.Node) place {
	return place{line: uint32(max(0, node.Line)), column: uint32(max(0, node.Column))}
}

func comparePlaces(a, b place) int { return cmp.Compare(a.path, b.path) }

// hash tells lists of places apart, most likely.
func (p places) hash() uint64 {
	h := uint64(fnvOffset)
	for _, at := range p {
		h = (h ^ at.path) * fnvPrime
		h = (h ^ uint64(at.line)<<32 ^ uint64(at.column)) * fnvPrime
	}
	return h
}

// find returns the place of path or else of its nearest parent, and root where there is
// none.
func (p places) find(root place, path string) place {
	for path = canonicalPath(path); path != ""; path = parentPath(path) {
		if i, ok := slices.BinarySearchFunc(p, place{path: extend(fnvOffset, path)}, comparePlaces); ok {
			return p[i]
		}
	}
	return root
}

// parentPath cuts the last step off a path: "a.b[0]" is in "a.b", that in "a", that in "".
func parentPath(path string) string {
	return path[:max(0, strings.LastIndexAny(path, ".["))]
}

// canonicalPath writes map keys as steps, as this package does: the API machinery's
// `labels[app]` and `data["a.b"]` become "labels.app" and "data.a.b". Indexes stay.
func canonicalPath(path string) string {
	if !strings.Contains(path, "[") {
		return path
	}
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(path, "[")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		name, after, closed := strings.Cut(rest, "]")
		switch {
		case !closed:
			return b.String()
		case isIndex(name):
			b.WriteString("[" + name + "]")
		default:
			b.WriteString("." + strings.Trim(name, `"`))
		}
		path = after
	}
}

func isIndex(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// nodeAt returns the node with the given path under node, nil if there is none.
func nodeAt(node *yaml.Node, path string) *yaml.Node {
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if path == "" {
		return node
	}
	switch node.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			rest, ok := strings.CutPrefix(path, node.Content[i].Value)
			switch {
			case !ok:
			case rest == "" || rest[0] == '[':
				return nodeAt(node.Content[i+1], rest)
			case rest[0] == '.':
				if found := nodeAt(node.Content[i+1], rest[1:]); found != nil {
					return found
				}
			}
		}
	case yaml.SequenceNode:
		for i, n := range node.Content {
			s := (&step{}).element(i)
			if rest, ok := strings.CutPrefix(path, s.String()); ok {
				return nodeAt(n, strings.TrimPrefix(rest, "."))
			}
		}
	}
	return nil
}
