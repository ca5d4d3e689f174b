package http1

import "weir.dev/weir/model"

// parseFields parses field lines up to the empty line that ends the head.
func (h *Head) parseFields(buf []byte, lim *Limits, underscores model.NamePolicy) (done bool, err *Error) {
	limit, most := lim.head(), lim.fields()
	for {
		start := h.at
		line, ok, err := h.line(buf, limit, errHeadTooLarge)
		if !ok {
			return false, err
		}
		if len(line) == 0 {
			h.buf = buf[:h.at:h.at]
			return true, nil
		}
		if len(h.Fields) >= most {
			return false, errTooMany
		}
		nameEnd, valueAt, valueEnd, seen, err := splitField(line)
		if err != nil {
			return false, err
		}
		known := recognise(line[:nameEnd])
		f := Field{
			nameAt: uint32(start), nameEnd: uint32(start + nameEnd),
			valueAt: uint32(start + valueAt), valueEnd: uint32(start + valueEnd),
			Known: known, Hop: known.has(hop),
		}
		if seen&isUnderscore != 0 && underscores != model.NameKeep {
			if underscores != model.NameDrop {
				return false, errUnderscore
			}
			f.Dropped = true
		}
		h.Fields = append(h.Fields, f)
	}
}

// splitField validates a field line and says where its name ends and its value, without
// the white space around it, lies. seen is the union of the classes of the name's bytes.
func splitField(line []byte) (nameEnd, valueAt, valueEnd int, seen class, err *Error) {
	i := 0
	for i < len(line) {
		c := classes[line[i]]
		if c&isToken == 0 {
			break
		}
		seen |= c
		i++
	}
	if i == 0 || i == len(line) || line[i] != ':' {
		return 0, 0, 0, 0, nameFault(line, i)
	}
	nameEnd = i
	i++
	end := len(line)
	if !cleanValue(line[i:end]) {
		return 0, 0, 0, 0, valueFault(line[i:end])
	}
	for end > i && isSpace(line[end-1]) {
		end--
	}
	for i < end && isSpace(line[i]) {
		i++
	}
	return nameEnd, i, end, seen, nil
}

// nameFault says what is wrong with a field line whose name ends badly at i.
func nameFault(line []byte, i int) *Error {
	switch {
	case i == len(line):
		return errNoColon
	case line[i] == '\r':
		return errBareCR
	case i == 0 && isSpace(line[0]):
		return errFold
	case i == 0 && line[0] == ':':
		return errEmptyName
	case isSpace(line[i]):
		return errSpaceInName
	}
	return errName
}

func isSpace(b byte) bool { return b == ' ' || b == '\t' }
