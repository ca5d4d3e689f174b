package sample

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"

	"weir.dev/weir/model"
)

// TestBucketsStay is a statement of policy: whoever changes what it says sends users of running releases
// to other arms, and has proxies of two versions disagree.
func TestBucketsStay(t *testing.T) {
	for _, test := range []struct {
		salt, key string
		want      uint16
	}{
		{"shop/checkout", "ann", 8994},
		{"shop/checkout", "bob", 3845},
		{"shop/search", "ann", 1983},
		{"", "", 8201},
		{"shop/checkout", "2001:db8::1", 5467},
	} {
		if got := NewSalt(test.salt).User([]byte(test.key)).Bucket(); got != test.want {
			t.Errorf("%q with salt %q is in bucket %d, want %d", test.key, test.salt, got, test.want)
		}
	}
}

// keySets are users as they are told apart in the wild.
var keySets = map[string]func(r *rand.Rand, i int) string{
	"uuids": func(r *rand.Rand, _ int) string {
		var b [16]byte
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
		h := hex.EncodeToString(b[:])
		return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
	},
	"sequential numbers": func(_ *rand.Rand, i int) string { return fmt.Sprint(1_000_000 + i) },
	"short numbers":      func(_ *rand.Rand, i int) string { return fmt.Sprint(i) },
	"e-mail addresses":   func(_ *rand.Rand, i int) string { return fmt.Sprintf("user%06d@example.com", i) },
	"addresses":          func(_ *rand.Rand, i int) string { return string([]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}) },
	"counters, binary":   func(_ *rand.Rand, i int) string { return string([]byte{byte(i), byte(i >> 8), byte(i >> 16)}) },
}

// TestBucketsAreFair tests, for each kind of key and several salts, that users fall into a hundred
// parts of the buckets alike, and that two salts divide them independently.
func TestBucketsAreFair(t *testing.T) {
	const users, parts = 100_000, 100
	// So unlikely that of all tests here one in a hundred thousand would fail by chance; seeds are fixed.
	const least = 1e-7
	for name, key := range keySets {
		r := rand.New(rand.NewPCG(1, 2))
		keys := make([]string, users)
		for i := range keys {
			keys[i] = key(r, i)
		}
		for _, salt := range []string{"shop/checkout", "shop/search", "a/b"} {
			counts := make([]float64, parts)
			pairs := make([]float64, 100) // of ten parts with ten of another salt
			for _, k := range keys {
				b := NewSalt(salt).User([]byte(k)).Bucket()
				counts[int(b)*parts/model.Buckets]++
				pairs[int(b)/1000*10+int(NewSalt(salt+"2").User([]byte(k)).Bucket())/1000]++
			}
			if p := alike(counts); p < least {
				t.Errorf("%s, salt %s: the parts are unlike, p = %g", name, salt, p)
			}
			if p := alike(pairs); p < least {
				t.Errorf("%s, salts %s and %s2 depend on each other, p = %g", name, salt, salt, p)
			}
		}
	}
}

// alike is the probability that counts of equally likely things are at least so unlike each other.
func alike(counts []float64) float64 {
	var sum, x float64
	for _, n := range counts {
		sum += n
	}
	expected := sum / float64(len(counts))
	for _, n := range counts {
		x += (n - expected) * (n - expected) / expected
	}
	return distuv.ChiSquared{K: float64(len(counts) - 1)}.Survival(x)
}

func TestBucketAllocatesNothing(t *testing.T) {
	salt, key := NewSalt("shop/checkout"), []byte("somebody")
	var bucket uint16
	if n := testing.AllocsPerRun(100, func() { bucket = salt.User(key).Bucket() }); n != 0 {
		t.Errorf("%v allocations for bucket %d", n, bucket)
	}
}

func TestCheck(t *testing.T) {
	for _, test := range []struct {
		name           string
		stable, canary uint64
		wanted         float64
		unfair         bool
	}{
		{"nobody", 0, 0, 0.1, false},
		{"as wanted", 9000, 1000, 0.1, false},
		{"by chance", 9060, 940, 0.1, false},
		{"a sixth of the canary's are missing", 9000, 840, 0.1, true},
		{"too few to say", 40, 0, 0.1, false},
		{"none where ten were to be", 100, 0, 0.1, false}, // p = 0.0009
		{"none where twenty were to be", 200, 0, 0.1, true},
		{"nothing was wanted", 100, 100, 0, false},
	} {
		if f := Check(test.stable, test.canary, test.wanted); f.Unfair() != test.unfair {
			t.Errorf("%s: unfair is %v with p = %g", test.name, f.Unfair(), f.P)
		}
	}
	if f := Check(990, 10, 0.01); f.Share != 0.01 || f.P != 1 {
		t.Errorf("as wanted: %+v", f)
	}
}

func FuzzBucket(f *testing.F) {
	f.Add("salt", "key")
	f.Fuzz(func(t *testing.T, salt, key string) {
		if b := NewSalt(salt).User([]byte(key)).Bucket(); b >= model.Buckets {
			t.Errorf("bucket %d", b)
		}
	})
}

func BenchmarkBucket(b *testing.B) {
	salt, key := NewSalt("shop/checkout"), []byte("0b9d6a4e-9a3f-4f0e-8a53-6d3c1f5a7f10")
	for b.Loop() {
		salt.User(key).Bucket()
	}
}
