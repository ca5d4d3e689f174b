package policy

import (
	"encoding/hex"
	"strings"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"

	"weir.dev/weir/model"
)

// maxTenant is how many bytes of a key's value are shown.
const maxTenant = 64

// AppendTenant appends the value of a request's key in a form for people: what counts by
// tenant is shown by it. An address is written as such. What may be a credential (any cookie,
// and headers and query parameters named like one) is not shown but for a hash of it, which
// tells tenants apart. Nothing is appended for a request that has no key.
func (k *Keys) AppendTenant(dst []byte, f *Facts) []byte {
	var memory [256]byte
	for i := range k.list {
		one := Keys{k.list[i : i+1]}
		value, ok := one.value(memory[:0], f)
		if !ok {
			continue
		}
		key := &k.list[i]
		switch {
		case key.Source == model.KeyClientIP:
			client := f.Caller.Client
			if client.Is6() && key.IPv6Prefix > 0 {
				network, _ := client.Prefix(key.IPv6Prefix) // at most 128
				return network.AppendTo(dst)
			}
			return client.AppendTo(dst)
		case key.secret():
			var sum [8]byte
			for at, h := 0, xxhash.Sum64(value); at < len(sum); at, h = at+1, h<<8 {
				sum[at] = byte(h >> 56)
			}
			return hex.AppendEncode(append(dst, "hash:"...), sum[:])
		}
		return appendShown(dst, value)
	}
	return dst
}

// secret reports whether the key's values may be credentials.
func (k *key) secret() bool {
	return k.Source == model.KeyCookie || (k.Source == model.KeyHeader || k.Source == model.KeyQuery) && credential(k.Name) ||
		k.Source == model.KeyExpression && credential(k.Name)
}

// credential reports whether a field, parameter or expression is named as those are that hold
// credentials: authorization, cookie, x-api-key, access_token and the like.
func credential(name string) bool {
	name = strings.ToLower(name)
	for _, part := range [...]string{"auth", "cookie", "key", "token", "secret", "password", "session", "signature"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

// appendShown appends a value cut to maxTenant bytes, as valid UTF-8.
func appendShown(dst, value []byte) []byte {
	if len(value) > maxTenant {
		value = value[:maxTenant]
	}
	for len(value) > 0 {
		r, n := utf8.DecodeRune(value)
		if r < ' ' || r == 0x7f || r == utf8.RuneError && n == 1 {
			r = '?'
		}
		dst = utf8.AppendRune(dst, r)
		value = value[n:]
	}
	return dst
}
