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

// User is 64 bits that stand for a user in one division: all that is told of it comes from these.
type User uint64

// User returns the user with the bytes that tell it apart.
//
// Worked example: the key "ann" with the salt "shop/checkout" is in bucket 8,994. The salt's hash is
// added to the key's, an XXH64; what comes out is mixed, so that one bit of either changes half of the
// bits, and multiplied by 10,000 / 2^64, so that each bucket has as many of all numbers.
func (s Salt) User(key []byte) User { return s.UserOf(xxhash.Sum64(key)) }

// UserOf is User for a key whose XXH64 with seed 0 is known.
func (s Salt) UserOf(hash uint64) User { return User(mix(hash + uint64(s))) }

// Bucket returns the bucket that the user falls into, 0 to model.Buckets-1.
func (u User) Bucket() uint16 {
	high, _ := bits.Mul64(uint64(u), model.Buckets)
	return uint16(high)
}

// Number tells users apart, though not for certain: 0 to model.Numbers-1, whatever the bucket.
func (u User) Number() uint16 { return uint16(u % model.Numbers) }

// mix is the finalizer of SplitMix64 (Steele, Lea and Flood, Fast Splittable Pseudorandom Number
// Generators, 2014; the constants are David Stafford's Mix13).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
