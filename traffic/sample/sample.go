// Package sample divides users among the arms of a split: which bucket a user falls into, and
// which arm has which buckets. It is pure: the same in every proxy and version, without any state
// to agree upon. What share an arm gets, and when, is not its business.
package sample

import (
	"math/bits"

	"github.com/cespare/xxhash/v2"

	"weir.dev/weir/model"
)

// Salt makes one division of users independent of the others: who is among the first in one is
// not in the next. Equal salts divide alike.
type Salt uint64

// NewSalt returns the salt of model.Sampling.Salt.
func NewSalt(text string) Salt { return Salt(xxhash.Sum64String(text)) }

// Bucket returns the bucket of a user, 0 to model.Buckets-1, by the bytes that tell it apart.
func (s Salt) Bucket(key []byte) uint16 { return s.BucketOf(xxhash.Sum64(key)) }

// BucketOf is Bucket for a key whose XXH64 with seed 0 is known.
//
// Worked example: the key "ann" with the salt "shop/checkout" is in bucket 8,994. The salt's hash is
// added to the key's; what comes out is mixed, so that one bit of either changes half of the
// bits, and multiplied by 10,000 / 2^64, so that each bucket has as many of all numbers.
func (s Salt) BucketOf(hash uint64) uint16 {
	high, _ := bits.Mul64(mix(hash+uint64(s)), model.Buckets)
	return uint16(high)
}

// mix is the finalizer of SplitMix64 (Steele, Lea and Flood, Fast Splittable Pseudorandom Number
// Generators, 2014; the constants are David Stafford's Mix13).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
