package source

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"weir.dev/weir/controlplane/resource"
)

// BenchmarkFiles measures 10,000 routes in 100 files: reading them all, and from the
// writing of one file, of which one route is different, to the set that has it.
func BenchmarkFiles(b *testing.B) {
	dir := b.TempDir()
	write := func(file int, host string) {
		var names []string
		for j := range 100 {
			names = append(names, fmt.Sprintf("r%d-%d", file, j))
		}
		names[50] += "=" + host
		temporary := filepath.Join(dir, ".new")
		if err := os.WriteFile(temporary, []byte(routes(names...)), 0o600); err != nil {
			b.Fatal(err)
		}
		if err := os.Rename(temporary, filepath.Join(dir, fmt.Sprintf("f%d.yaml", file))); err != nil {
			b.Fatal(err)
		}
	}
	for i := range 100 {
		write(i, "a")
	}
	run := func() (sets chan *resource.Set, stop func()) {
		sets = make(chan *resource.Set, 100)
		ctx, cancel := context.WithCancel(b.Context())
		ended := make(chan error)
		go func() { ended <- NewFiles([]string{dir}, Options{}).Run(ctx, func(s *resource.Set) { sets <- s }) }()
		return sets, func() {
			cancel()
			if err := <-ended; err != nil {
				b.Error(err)
			}
		}
	}
	b.Run("start", func(b *testing.B) {
		for b.Loop() {
			sets, stop := run()
			if s := <-sets; s.Len() != 10_000 {
				b.Fatal(s.Len())
			}
			stop()
		}
	})
	b.Run("change", func(b *testing.B) {
		sets, stop := run()
		defer stop()
		last := <-sets
		key := resource.Key{Group: "gateway.networking.k8s.io", Kind: "HTTPRoute", Namespace: "default", Name: "r7-50"}
		for i := 0; b.Loop(); i++ {
			b.StopTimer()
			<-time.After(2 * settle) // after quiet
			b.StartTimer()
			before := last.Get(key)
			write(7, fmt.Sprint("h", i))
			for last.Get(key) == before {
				last = <-sets
			}
		}
	})
}
