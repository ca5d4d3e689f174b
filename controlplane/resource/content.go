package resource

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"
)

// contentHash is the hash of what an object says, wherever that was written.
type contentHash [16]byte

// hashOf returns the hash of a decoded object, whatever the order of its fields.
func hashOf(object map[string]any) contentHash {
	sum := sha256.Sum256(appendValue(make([]byte, 0, 2048), object))
	return contentHash(sum[:16])
}

// appendValue appends a form of v that no other value has: a letter for its kind, and
// lengths before everything of variable length.
func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case map[string]any:
		b = binary.AppendUvarint(append(b, 'm'), uint64(len(v)))
		names := make([]string, 0, 16) // no garbage for the fields that most objects have
		for name := range v {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			b = appendValue(appendText(b, name), v[name])
		}
	case []any:
		b = binary.AppendUvarint(append(b, 'l'), uint64(len(v)))
		for _, e := range v {
			b = appendValue(b, e)
		}
	case string:
		b = appendText(append(b, 's'), v)
	case int64:
		b = binary.AppendVarint(append(b, 'i'), v)
	case float64:
		b = binary.LittleEndian.AppendUint64(append(b, 'f'), math.Float64bits(v))
	case bool:
		if v {
			return append(b, 't')
		}
		b = append(b, 'u')
	case nil:
		b = append(b, 'n')
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
