package policy

import (
	"net/netip"
	"testing"
)

// BenchmarkForwarded is what the plain path of every request pays here.
func BenchmarkForwarded(b *testing.B) {
	f := trusting(0)
	peer := netip.MustParseAddr("192.0.2.1")
	req := get(b, "User-Agent: curl/8.0", "Accept: */*", "Cookie: a=b", "X-Other: c")
	dst, scratch := make([]byte, 0, 1024), make([]byte, 0, 64)
	random := counter()
	b.ReportAllocs()
	for b.Loop() {
		c := f.Judge(peer, "", &req.Head)
		id := Identify(scratch, &req.Head, random)
		dst = dst[:0]
		for i := range req.Fields {
			if known := req.Fields[i].Known; c.Drops(known) || id.Drops(known) {
				continue
			}
			dst = req.AppendRaw(dst, i)
		}
		dst = f.AppendTo(dst, &c, req, 0)
		dst = id.AppendTo(dst, 0)
	}
}
