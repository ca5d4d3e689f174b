// Package balance chooses hosts: the algorithms alone, pure and lock-free. A Picker is
// built from hosts and weights, never changes and is thrown away when they do; what a
// host has learned (requests in flight, latency) lives in its Load, which belongs to the
// host and survives. Time and randomness are arguments. Health, connections and the
// names of things are not its business.
package balance

import (
	"fmt"
	"slices"

	"weir.dev/weir/model"
)

// Host is one destination. Load must be set for LeastRequest, PeakEWMA and a bound, and may
// be shared between pickers.
type Host struct {
	Weight uint32 // relative; 0 receives nothing
	Load   *Load
	// Identity is the host's place in rings and tables: unique, and the same in every proxy.
	// Only for algorithms that hash.
	Identity string
}

// Request is what a choice depends on.
type Request struct {
	Random uint64 // uniformly random bits, new for each request; unused by RoundRobin
	Hash   uint64 // of the request's key, random bits if it has none; only for algorithms that hash
	// Now is nanoseconds since any fixed moment, the same one for all and as in Load; for PeakEWMA,
	// and for LeastRequest while a host has lately failed, else 0.
	Now   int64
	Tried []int // indices of hosts to avoid while another one exists
}

// Picker chooses a host. It never blocks, never allocates, and is safe for any number
// of goroutines.
type Picker interface {
	// Pick returns an index into the hosts the picker was built from, or -1 if no host
	// has a weight. A host of weight 0 is never chosen; a tried one only when all are.
	Pick(r Request) int
}

// Options say how a Picker chooses.
type Options struct {
	Algorithm model.Algorithm
	// Seed says where RoundRobin begins, so that many proxies, and one proxy after each
	// change, do not all begin at the first host.
	Seed  uint64
	Bound Bound // only for algorithms that hash
}

// New returns a picker over the hosts. An unknown algorithm is an error.
func New(o Options, hosts []Host) (Picker, error) {
	switch o.Algorithm {
	case model.RoundRobin:
		return NewRoundRobin(hosts, o.Seed), nil
	case model.Random:
		return NewRandom(hosts), nil
	case model.LeastRequest:
		return NewLeastRequest(hosts), nil
	case model.PeakEWMA:
		return NewPeakEWMA(hosts), nil
	case model.RingHash:
		return NewRingHash(hosts, o.Bound), nil
	case model.Maglev:
		return NewMaglev(hosts, o.Bound), nil
	}
	return nil, fmt.Errorf("unknown balancing algorithm %q", o.Algorithm)
}

// Hashes reports whether the algorithm chooses by the request's hash.
func Hashes(a model.Algorithm) bool { return a == model.RingHash || a == model.Maglev }

// redraws is how often a choice is repeated that fell on a tried host, before the next
// host in order is taken. Each is O(1), so is their sum.
const redraws = 8

// eligible lists the indices of the hosts that have a weight.
func eligible(hosts []Host) []int {
	list := make([]int, 0, len(hosts))
	for i := range hosts {
		if hosts[i].Weight > 0 {
			list = append(list, i)
		}
	}
	return list
}

// untried returns the position of the first host in the list that is not tried, going
// round from position start, or start itself if all are.
func untried(list []int, start int, tried []int) int {
	for i := range list {
		at := start + i
		if at >= len(list) {
			at -= len(list)
		}
		if !slices.Contains(tried, list[at]) {
			return at
		}
	}
	return start
}

// mix returns the next of a sequence of random numbers from one (the finaliser of
// SplitMix64; Steele, Lea, Flood 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
