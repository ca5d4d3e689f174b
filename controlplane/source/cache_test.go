package source

import (
	"crypto/sha256"
	"testing"

	"weir.dev/weir/controlplane/resource"
)

// TestCacheOfRefused: what was accepted is kept, wherever what was never accepted stands beside it.
func TestCacheOfRefused(t *testing.T) {
	for text, want := range map[string]int{routes("a*", "b", "c*", "d", "e*"): 2, routes("a*"): 0, routes("a", "b"): 2, "": 0} {
		c := Cache{Dir: t.TempDir()}
		var decoder resource.Decoder
		objects, _ := decoder.Decode("f", []byte(text))
		if err := c.Save("f", sha256.Sum256([]byte(text)), objects); err != nil {
			t.Fatal(err)
		}
		if got, err := c.Load("f"); err != nil || len(got) != want {
			t.Errorf("%q: %d objects, want %d, %v", text, len(got), want, err)
		}
	}
}
