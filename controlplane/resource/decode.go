package resource

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"weir.dev/weir/model"
)

// Decoder reads manifests. It remembers the last version of each file, so that decoding a
// changed file costs what changed in it. The zero Decoder is ready; it is safe for
// concurrent use.
type Decoder struct {
	mu    sync.Mutex
	files map[string]*fileMemo
	only  *kind // the one kind that counts; nil: all that are served
}

// fileMemo is what is remembered of one file.
type fileMemo struct {
	mu      sync.Mutex
	pieces  map[[sha256.Size]byte]*decoded // by their text
	layouts map[uint64]places              // by their hash: documents that look alike share one
}

// decoded is what a piece of a file holds, in lines of its own.
type decoded struct {
	documents []*document
	loose     []problem // about no object that could be named
	broken    bool      // not even YAML
	only      *kind     // as in Decoder

	objects []*Object // of documents, for the file and the line that they were last at
	line    int
}

// document is one object as it was written, and the Object that it is where it was written first.
type document struct {
	Object
	content  contentHash
	problems []problem
	discreet bool // nothing that is said quotes a value
}

// problem is a Diagnostic in lines of its piece.
type problem struct {
	severity Severity
	rule     string
	at       place
	field    string
	message  string
}

// Decode reads every object of one file: YAML or JSON, one or several documents, lists
// expanded. An object that is refused has its Problems and no Value. The diagnostics are
// all there are, those problems included, in the order of positions. A file that is not
// YAML at all has no objects; MustRetain recognises it.
func (d *Decoder) Decode(file string, data []byte) ([]*Object, []Diagnostic) {
	memo := d.memo(file)
	memo.mu.Lock()
	defer memo.mu.Unlock()

	text, unreadable := readable(data)
	if unreadable != nil {
		return nil, []Diagnostic{unreadable.diagnostic(file, 0, Key{})}
	}
	next := fileMemo{pieces: map[[sha256.Size]byte]*decoded{}, layouts: map[uint64]places{}}
	var (
		objects     []*Object
		diagnostics []Diagnostic
		broken      bool
	)
	pieces := split(text)
	if len(pieces) > maxDocuments {
		return nil, []Diagnostic{(&problem{rule: RuleSyntax, message: fmt.Sprintf(
			"the file has more than %d documents; split it", maxDocuments)}).diagnostic(file, 0, Key{})}
	}
	isJSON := strings.EqualFold(filepath.Ext(file), ".json")
	unparsed := 0
	sums := make([][sha256.Size]byte, len(pieces))
	for i, p := range pieces {
		sums[i] = p.sum()
	}
	known := memo.values()
	parser := newPieceParser(text, pieces, func(i int) bool { return memo.pieces[sums[i]] == nil })
	for i, p := range pieces {
		sum := sums[i]
		result := memo.pieces[sum]
		if same := next.pieces[sum]; same != nil && len(same.documents) == 0 {
			result = same
		} else if result == nil || same != nil { // a copy in the same file has lines of its own
			nodes, wrong := parser.parse(i, unparsed < maxExact)
			result = decodePiece(p, nodes, wrong, known, d.only)
			result.explainJSON(p.text, isJSON)
		}
		if result.broken {
			unparsed++
		}
		next.remember(sum, result)
		broken = broken || result.broken
		for _, l := range result.loose {
			diagnostics = append(diagnostics, l.diagnostic(file, p.line, Key{}))
		}
		for _, o := range result.at(file, p.line) {
			objects = append(objects, o)
			diagnostics = append(diagnostics, o.Problems...)
		}
	}
	SortDiagnostics(diagnostics)
	if broken {
		diagnostics = slices.DeleteFunc(diagnostics, func(x Diagnostic) bool { return x.Object != (Key{}) })
		return nil, atMost(maxDiagnostics, file, diagnostics) // the memo stays that of the last version that parsed
	}
	memo.pieces = next.pieces
	return objects, atMost(maxDiagnostics, file, diagnostics)
}

// maxDiagnostics is how many diagnostics there are of one file.
const maxDiagnostics = 10_000

// atMost leaves the first diagnostics of a file, and says how many there are more.
func atMost(n int, file string, all []Diagnostic) []Diagnostic {
	if len(all) <= n {
		return all
	}
	more := Diagnostic{Severity: Info, Rule: RuleSyntax, At: Position{File: file}}
	for _, d := range all[n:] {
		more.Severity = min(more.Severity, d.Severity)
	}
	more.Message = fmt.Sprintf("%d more problems in this file are not listed", len(all)-n)
	return append(all[:n:n], more)
}

// sum tells pieces apart, by all that decoding depends on.
func (p piece) sum() [sha256.Size]byte {
	if p.column == 0 {
		return sha256.Sum256(p.text)
	}
	return sha256.Sum256(fmt.Appendf(nil, "%d\x00%s", p.column, p.text))
}

// Forget drops what is remembered of a file that is gone.
func (d *Decoder) Forget(file string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.files, file)
}

func (d *Decoder) memo(file string) *fileMemo {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.files == nil {
		d.files = map[string]*fileMemo{}
	}
	if d.files[file] == nil {
		d.files[file] = &fileMemo{}
	}
	return d.files[file]
}

func (m *fileMemo) remember(sum [sha256.Size]byte, result *decoded) {
	m.pieces[sum] = result
	for _, doc := range result.documents {
		if shared := m.share(doc.fields); !doc.placed() { // others may be reading it otherwise
			doc.fields = shared
		}
	}
}

// values returns what was accepted, by content.
func (m *fileMemo) values() map[contentHash]any {
	values := make(map[contentHash]any, len(m.pieces))
	for _, p := range m.pieces {
		for _, doc := range p.documents {
			values[doc.content] = doc.Value
		}
	}
	return values
}

// share returns the places of a document like this one, or these in no more memory than
// they need.
func (m *fileMemo) share(p places) places {
	key := p.hash()
	if same, ok := m.layouts[key]; ok && slices.Equal(same, p) {
		return same
	}
	if len(p) < cap(p) {
		p = append(make(places, 0, len(p)), p...)
	}
	m.layouts[key] = p
	return p
}

// MustRetain tells whether diagnostics of a file leave it open which objects it holds:
// then none of its former ones may be taken for deleted.
func MustRetain(diagnostics []Diagnostic) bool {
	return slices.ContainsFunc(diagnostics, func(d Diagnostic) bool {
		return d.Severity == Error && d.Object == (Key{})
	})
}

func (p problem) diagnostic(file string, line int, key Key) Diagnostic {
	at := Position{File: file}
	if p.at.line > 0 {
		at.Line, at.Column = line+int(p.at.line), int(p.at.column)
	}
	return Diagnostic{Severity: p.severity, Rule: p.rule, At: at, Object: key, Field: clip(p.field), Message: clip(p.message)}
}

// maxText is how long messages and paths are at most, in bytes: values are in them.
const maxText = 1000

// clip shortens a text in its middle.
func clip(text string) string {
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(text[:maxText-200], "") + " ... " + strings.ToValidUTF8(text[len(text)-180:], "")
}

// at returns the objects of a piece that begins behind the given number of lines.
func (r *decoded) at(file string, line int) []*Object {
	if r.objects != nil && r.line == line {
		return r.objects
	}
	r.line, r.objects = line, make([]*Object, len(r.documents))
	for i, doc := range r.documents {
		r.objects[i] = doc.object(file, line)
	}
	return r.objects
}

// placed tells whether the document's own Object has been given out.
func (doc *document) placed() bool { return doc.At.Line > 0 }

func (doc *document) object(file string, line int) *Object {
	o := &doc.Object
	if doc.placed() {
		moved := doc.Object
		o = &moved
	}
	o.At, o.line = Position{File: file, Line: line + int(doc.root.line), Column: int(doc.root.column)}, line
	o.Problems = nil
	for _, p := range doc.problems {
		o.Problems = append(o.Problems, p.diagnostic(file, line, doc.Key))
	}
	if o.Value != nil {
		o.Hash = doc.hash(file, line)
	}
	return o
}

// hash covers the content and every position.
func (doc *document) hash(file string, line int) model.Hash {
	b := append(make([]byte, 0, 1024), doc.content[:]...)
	b = append(b, file...)
	b = binary.LittleEndian.AppendUint64(b, uint64(line))
	for _, f := range doc.fields {
		b = f.append(b)
	}
	sum := sha256.Sum256(b)
	return model.Hash(hex.EncodeToString(sum[:16]))
}

// decodePiece decodes a piece that has been parsed, or was found to be broken.
func decodePiece(p piece, nodes []*yaml.Node, broken *problem, known map[contentHash]any, only *kind) *decoded {
	if broken != nil {
		return &decoded{loose: []problem{*broken}, broken: true}
	}
	result := &decoded{only: only}
	for _, node := range nodes {
		if p.column > 0 {
			shift(node, p.column)
		}
		result.add(node, known, listDepth)
	}
	return result
}

// shift moves what stands in the first line.
func shift(node *yaml.Node, columns int) {
	if node.Line > 1 {
		return
	}
	node.Column += columns
	for _, child := range node.Content {
		shift(child, columns)
	}
}

// listDepth is how deep lists may be in lists.
const listDepth = 2

func (r *decoded) add(node *yaml.Node, known map[contentHash]any, depth int) {
	if node.Kind == yaml.ScalarNode && node.ShortTag() == "!!null" {
		return // an empty document
	}
	if node.Kind != yaml.MappingNode {
		r.loose = append(r.loose, problem{rule: RuleSyntax, at: placeOf(node), message: "expected an object with apiVersion and kind"})
		return
	}
	if text(node, "kind") == "List" && text(node, "apiVersion") == "v1" && depth > 0 {
		if items := nodeAt(node, "items"); items != nil && items.Kind == yaml.SequenceNode {
			for _, item := range items.Content {
				r.add(item, known, depth-1)
			}
		}
		return
	}
	r.addObject(node, known)
}

// text returns the value of a scalar field of a mapping.
func text(node *yaml.Node, name string) string {
	if n := nodeAt(node, name); n != nil && n.Kind == yaml.ScalarNode {
		return n.Value
	}
	return ""
}
