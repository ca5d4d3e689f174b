//go:build !race

package transport

import (
	"bytes"
	"io"
	"testing"
	"time"
)

func TestExchangeOverTLSDoesNotAllocate(t *testing.T) {
	c, r := clientPair(t)
	go func() { _, _ = io.Copy(r, r) }()
	request := bytes.Repeat([]byte("r"), 200)
	var b Buffer
	once := func() {
		c.Rested = true
		if _, _, err := c.Exchange(request, &b, Wait{By: Now().Add(20 * time.Second)}); err != nil {
			t.Fatal(err)
		}
		b.Release()
	}
	for range 20 {
		once()
	}
	// crypto/tls allocates a reader of 24 bytes for every record that it reads, at both ends.
	if n := testing.AllocsPerRun(500, once); n > 2 {
		t.Errorf("%v allocations", n)
	}
}
