package policy

import (
	"bytes"
	"strconv"
	"time"
)

// CacheControl is what of a Cache-Control field matters to proxies.
type CacheControl struct {
	NoStore, NoCache, Private, Public, Shared, Revalidate bool
	Lifetime                                              time.Duration // of s-maxage, else of max-age
}

// ParseCacheControl reads a field's value (RFC 9111 section 5.2). What cannot be read counts
// as no-store.
func ParseCacheControl(value []byte) (c CacheControl) {
	for item := range bytes.SplitSeq(value, []byte{','}) {
		name, argument, _ := bytes.Cut(bytes.TrimSpace(item), []byte{'='})
		switch string(bytes.ToLower(name)) {
		case "no-store":
			c.NoStore = true
		case "no-cache":
			c.NoCache = true
		case "private":
			c.Private = true
		case "public":
			c.Public = true
		case "must-revalidate", "proxy-revalidate":
			c.Revalidate = true
		case "max-age", "s-maxage":
			seconds, err := strconv.ParseUint(string(bytes.Trim(argument, `"`)), 10, 31)
			if err != nil {
				c.NoStore = true
				continue
			}
			whole := len(name) == len("s-maxage")
			if whole || !c.Shared {
				c.Lifetime = time.Duration(seconds) * time.Second
			}
			c.Shared = c.Shared || whole
		}
	}
	return c
}
