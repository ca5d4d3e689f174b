package policy

import (
	"bytes"
	"strings"

	"weir.dev/weir/model"
)

// negotiate returns the coding that a client with this Accept-Encoding likes best, the
// earlier of several that it likes equally; empty if it takes none or likes "identity" better
// (RFC 9110 section 12.5.3). A coding that is not listed has the weight of "*". A weight that
// is malformed is 0.
//
//	gzip, br;q=0.8        gzip
//	gzip;q=0.5, identity  none
//	*;q=0.1               the first algorithm
func negotiate(accepted []byte, algorithms []model.Coding) model.Coding {
	var best model.Coding
	star := weightOf(accepted, "*")
	most := weightOf(accepted, "identity")
	for _, coding := range algorithms {
		w := weightOf(accepted, coding.String())
		if w < 0 && coding == model.CodingGzip {
			w = weightOf(accepted, "x-gzip") // RFC 9110 section 8.4.1.3
		}
		if w < 0 {
			w = star
		}
		if w > 0 && (w > most || w == most && best == "") {
			best, most = coding, w
		}
	}
	return best
}

// weightOf returns the weight of a coding, 0 to 1000; -1 if it is not listed. If it is
// listed twice, the first counts.
func weightOf(accepted []byte, coding string) int {
	for element := range bytes.SplitSeq(accepted, []byte(",")) {
		name, parameters, weighted := bytes.Cut(element, []byte(";"))
		if !foldEqual(trim(name), coding) {
			continue
		}
		if !weighted {
			return 1000
		}
		return parseWeight(trim(parameters))
	}
	return -1
}

// parseWeight reads q=0.123 in thousandths (RFC 9110 section 12.4.2); 0 if it is malformed.
func parseWeight(b []byte) int {
	if len(b) < 3 || len(b) > len("q=0.000") || !foldPrefix(b, "q=") {
		return 0
	}
	b = b[len("q="):]
	if b[0] != '0' && b[0] != '1' || len(b) > 1 && b[1] != '.' {
		return 0
	}
	weight := 1000 * int(b[0]-'0')
	unit := 100
	for _, digit := range b[min(2, len(b)):] {
		if digit < '0' || digit > '9' {
			return 0
		}
		weight += unit * int(digit-'0')
		unit /= 10
	}
	if weight > 1000 {
		return 0
	}
	return weight
}

// listHas reports whether a comma-separated list has an element, which is lower case, in any
// case of letters.
func listHas(list []byte, element string) bool {
	for e := range bytes.SplitSeq(list, []byte(",")) {
		if foldEqual(trim(e), element) {
			return true
		}
	}
	return false
}

// mediaType is a pattern of media types. Empty parts stand for any.
type mediaType struct {
	kind, subtype string
	suffix        string // with its plus sign
}

// eventStream is a type whose answers may never end.
const eventStream = "text/event-stream"

// parseMediaType reads type/subtype, type/*, type/*+suffix, */* or */*+suffix.
func parseMediaType(s string) mediaType {
	var m mediaType
	m.kind, m.subtype, _ = strings.Cut(s, "/")
	if m.kind == "*" {
		m.kind = ""
	}
	if suffix, ok := strings.CutPrefix(m.subtype, "*"); ok {
		m.subtype, m.suffix = "", suffix
	}
	return m
}

// covers reports whether one of the types is that of a Content-Type, whatever its parameters.
func (c *Compression) covers(contentType []byte) bool {
	essence, _, _ := bytes.Cut(contentType, []byte(";"))
	essence = trim(essence)
	slash := bytes.IndexByte(essence, '/')
	if slash <= 0 || slash == len(essence)-1 {
		return false
	}
	endless := foldEqual(essence, eventStream)
	for _, t := range c.types {
		if t.matches(essence[:slash], essence[slash+1:]) && (!endless || t.subtype != "" || t.kind == "") {
			return true
		}
	}
	return false
}

func (m mediaType) matches(kind, subtype []byte) bool {
	if m.kind != "" && !foldEqual(kind, m.kind) || m.subtype != "" && !foldEqual(subtype, m.subtype) {
		return false
	}
	at := len(subtype) - len(m.suffix)
	return at >= 0 && (m.suffix == "" || foldEqual(subtype[at:], m.suffix))
}
