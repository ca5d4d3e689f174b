package resource

import (
	"bytes"
	"errors"
	"io"
	"math"
	"slices"

	"go.yaml.in/yaml/v3"
)

// pieceParser parses pieces of one file. It reads them with one decoder where that makes no
// difference, for a decoder's buffers are many times as large as a usual document. The rest,
// and everything behind an error, it parses piece by piece, so that what is wrong with one of
// them is said of that one.
type pieceParser struct {
	pieces  []piece
	extents []extent
	stream  *yaml.Decoder // nil: there is none, or it has met an error
	next    *yaml.Node    // what stream has read behind the last piece; nil: nothing
	texts   [128]string   // some that were read, each at the place that its hash says
}

// extent is where a piece is in what the decoder reads, in lines: behind start, up to end, which is 0
// of a piece that it does not read.
type extent struct{ start, end int }

// newPieceParser returns a parser of the pieces of a text, of which those that are new will be asked for.
func newPieceParser(text []byte, pieces []piece, isNew func(i int) bool) *pieceParser {
	p := &pieceParser{pieces: pieces, extents: make([]extent, len(pieces))}
	if slices.ContainsFunc(spreading, func(s string) bool { return bytes.Contains(text, []byte(s)) }) {
		return p
	}
	var texts []io.Reader
	lines := 0
	for i, each := range pieces {
		if !isNew(i) || tooMany(each.text) || i > 0 && !isMarker(each.text) {
			continue
		}
		start := lines
		lines += 1 + bytes.Count(bytes.TrimSuffix(each.text, []byte("\n")), []byte("\n"))
		p.extents[i] = extent{start, lines}
		texts = append(texts, bytes.NewReader(each.text))
	}
	if len(texts) > 1 {
		p.stream = yaml.NewDecoder(io.MultiReader(texts...))
	}
	return p
}

// spreading are signs of what matters beyond its piece if a decoder reads on behind it: an anchor, which it
// would know in later documents, too, and what ends a line to YAML alone.
var spreading = []string{"&", "\r", "\u0085", "\u2028", "\u2029"}

// parse returns the documents of a piece, or what is wrong with its syntax: if exact, with the
// first line that is wrong. It must not be asked for a piece before one that it was asked for.
func (p *pieceParser) parse(i int, exact bool) ([]*yaml.Node, *problem) {
	if documents, ok := p.read(i); ok {
		return documents, nil
	}
	return parse(p.pieces[i].text, exact)
}

// read reads the documents of a piece from the stream; false: it cannot be read there.
func (p *pieceParser) read(i int) (documents []*yaml.Node, ok bool) {
	at := p.extents[i]
	for p.stream != nil && at.end > 0 {
		if p.next == nil {
			p.next = new(yaml.Node)
			if err := p.stream.Decode(p.next); errors.Is(err, io.EOF) {
				p.next.Line = math.MaxInt
			} else if err != nil {
				p.stream = nil
				break
			}
		}
		if p.next.Line > at.end {
			return documents, true
		}
		if p.next.Line > at.start && len(p.next.Content) == 1 {
			documents = append(documents, p.next.Content[0])
			p.take(p.next, at.start)
		}
		p.next = nil
	}
	return nil, false
}

// take moves everything under a node up by the given number of lines, and has equal texts share their
// memory: the objects of a file repeat most of what they say.
func (p *pieceParser) take(node *yaml.Node, lines int) {
	node.Line -= lines
	same := &p.texts[extend(fnvOffset, node.Value)%uint64(len(p.texts))]
	if *same != node.Value {
		*same = node.Value
	}
	node.Value = *same
	for _, child := range node.Content {
		p.take(child, lines)
	}
}
