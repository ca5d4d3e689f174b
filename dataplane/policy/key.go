package policy

import (
	"bytes"
	"net/netip"

	"github.com/cespare/xxhash/v2"

	"weir.dev/weir/model"
	"weir.dev/weir/traffic/expression"
)

// Keys tell requests apart by who or what they are for, as model.Key says: the first key
// that a request has counts. A key whose value is empty counts as missing, because it says
// nothing, and would put everybody who sends it together.
//
// The values are: of a header, what all fields of the name hold, joined by commas; of a
// cookie, the bytes as sent; of a query parameter, the decoded bytes (%XX, and + for a
// space); of a client, the 4 or 16 bytes of its address, an IPv6 one cut to its prefix; of an
// identity, the SPIFFE id; of an expression, the string that it makes, none where it is in error.
//
//	keys  header x-user, cookie sid, clientIP/64
//	X-User: ann, Cookie: sid=1               "ann"
//	Cookie: a=b; sid=1                       "1"
//	neither, from 2001:db8:1:2:3:4:5:6       2001:db8:1:2::
type Keys struct{ list []key }

type key struct {
	model.Key
	program *expression.Program // of KeyExpression; nil: it does not compile, and no request has it
}

// CompileKeys prepares keys; nil for none. Translation has refused what does not compile.
func CompileKeys(list []model.Key) *Keys {
	if len(list) == 0 {
		return nil
	}
	k := &Keys{make([]key, len(list))}
	for i, m := range list {
		k.list[i].Key = m
		if m.Source == model.KeyExpression {
			k.list[i].program, _ = expression.Compile(m.Name, expression.Forwarding, expression.String)
		}
	}
	return k
}

// Hash returns the hash of a request's key, and false if it has none. It is XXH64 of the
// value with seed 0: the same in every proxy, version and process, because the host that a
// key leads to must be. It allocates only for
// what is not in the head as it is and has more than 256 bytes, and for expressions.
func (k *Keys) Hash(f *Facts) (hash uint64, ok bool) {
	var memory [256]byte
	value, ok := k.value(memory[:0], f)
	if !ok {
		return 0, false
	}
	return xxhash.Sum64(value), true
}

// Append appends the value of a request's key to dst, and reports whether it has one.
func (k *Keys) Append(dst []byte, f *Facts) ([]byte, bool) {
	var memory [256]byte
	value, ok := k.value(memory[:0], f)
	return append(dst, value...), ok
}

// value returns the value of the first key that the request has: bytes of its head, or of
// room, which is grown if it must be.
func (k *Keys) value(room []byte, f *Facts) (value []byte, ok bool) {
	for i := range k.list {
		key := &k.list[i]
		switch key.Source {
		case model.KeyHeader:
			value, _ = f.Request.Joined(key.Name)
		case model.KeyCookie:
			value, _ = cookie(&f.Request.Head, key.Name)
		case model.KeyQuery:
			value, _ = parameter(room, f.Request.Query, key.Name)
		case model.KeyClientIP:
			value = appendNetwork(room, f.Caller.Client, key.IPv6Prefix)
		case model.KeyIdentity:
			value = append(room, f.Identity...)
		case model.KeyExpression:
			value = key.evaluate(room, f)
		}
		if len(value) > 0 {
			return value, true
		}
	}
	return nil, false
}

// evaluate appends what the key's expression makes of a request: nothing where it is in error.
func (k *key) evaluate(dst []byte, f *Facts) []byte {
	if k.program == nil {
		return dst
	}
	text, err := k.program.Text(f)
	if err != nil {
		return dst
	}
	return append(dst, text...)
}

// appendNetwork appends the bytes of an address, an IPv6 one without what is behind the
// first bits of it; 0 stands for all.
func appendNetwork(dst []byte, a netip.Addr, bits int) []byte {
	switch {
	case !a.IsValid():
		return dst
	case a.Is4():
		b := a.As4()
		return append(dst, b[:]...)
	}
	b := a.As16()
	if bits > 0 && bits < 128 {
		whole := bits / 8
		b[whole] &= ^byte(0xff >> (bits % 8))
		clear(b[whole+1:])
	}
	return append(dst, b[:]...)
}

// parameter returns the decoded value of the first query parameter with the name, and whether
// there is one: bytes of the query where there is nothing to decode, else in room.
func parameter(room, query []byte, name string) (value []byte, ok bool) {
	for len(query) > 0 {
		var pair []byte
		pair, query, _ = bytes.Cut(query, []byte{'&'})
		n, value, _ := bytes.Cut(pair, []byte{'='})
		if len(pair) > 0 && decodesTo(n, name) {
			return decoded(room, value), true
		}
	}
	return nil, false
}

// decodesTo reports whether raw, decoded, is want.
func decodesTo(raw []byte, want string) bool {
	at := 0
	for ; len(raw) > 0; at++ {
		c, n := decodeByte(raw)
		if at == len(want) || c != want[at] {
			return false
		}
		raw = raw[n:]
	}
	return at == len(want)
}

func decoded(room, raw []byte) []byte {
	if bytes.IndexByte(raw, '%') < 0 && bytes.IndexByte(raw, '+') < 0 {
		return raw
	}
	for len(raw) > 0 {
		c, n := decodeByte(raw)
		room, raw = append(room, c), raw[n:]
	}
	return room
}

// decodeByte decodes the first character of a query and returns how many bytes it takes, as
// package match does: an invalid escape stands for itself.
func decodeByte(raw []byte) (c byte, n int) {
	switch {
	case raw[0] == '+':
		return ' ', 1
	case raw[0] == '%' && len(raw) >= 3:
		high, one := hextet(raw[1:2])
		low, two := hextet(raw[2:3])
		if one+two == 2 {
			return byte(high<<4 | low), 3
		}
	}
	return raw[0], 1
}
