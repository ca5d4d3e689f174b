package health

import (
	"math"
	"slices"
	"time"
)

const (
	// unseen is the share of failures below which nothing has failed for so long, three quarters of
	// a minute after a single failure, that a row that ended then says nothing any more.
	unseen = 0.001
	// well is the share of failures up to which a host does well.
	well = 0.05
	// ailing is the share of failures of the best quarter from which on it is the service that does
	// badly.
	ailing = 0.125
	// aftermath is how long hosts may take to work off what has heaped up while the service did badly.
	aftermath = 10 * time.Second
	// luck is how probable a row may be that is not taken for chance.
	luck = 1e-6
	// twice is by how much more than its peers a host must fail to be the odd one.
	twice = 2
)

// faring returns the share of its latest tries that a host fails, as far as is known: an
// average over them (balance.Share, which forgets within some ten seconds), or what the
// row of failures that has not ended yet makes likely, which does not depend on how seldom
// the host is asked: nothing after one failure, a quarter after two, 4/7 after five. 0: nobody
// has seen it fail lately.
func faring(average float64, row uint32) float64 {
	if average < unseen {
		return 0
	}
	return max(average, (float64(row)-1)/(float64(row)+2))
}

// Peers is how the hosts of a cluster that get requests fare by one rule, the best ones first. It tells the
// host that does badly from the service that does: of many hosts that fail for one reason (all
// are slow, a database is down, a release is bad) none is an outlier, and to eject some of them
// leaves the others, which can do no better, with more.
type Peers []float64

// NewPeers sorts shares of failures in place, as Record.Fares returns them.
func NewPeers(shares []float64) Peers {
	slices.Sort(shares)
	return shares
}

// best returns the share of failures that the best quarter of the others does not exceed, one
// host at least, and 0 where there are no others. own is the share of the one that is asked for,
// which is among the Peers. A quarter, as more than half of the hosts may break down at once (two
// zones of three), and those that are left still show that it is the hosts.
func (p Peers) best(own float64) float64 {
	others := len(p) - 1
	if others < 1 {
		return 0
	}
	k := (others - 1) / 4
	if own <= p[k] {
		k++ // it stands before, or is it
	}
	return p[k]
}

// Incident is when a service as a whole has done badly last, by one rule. The zero Incident is of one
// that never did.
type Incident struct {
	until int64
}

// Odd reports whether a host that fails this share of its tries, and has just failed so many in a
// row, does worse than its peers at now, and not only as badly: the best quarter of them does well,
// or fails so seldom that the row is no chance, one in a million. Where they fail an eighth of
// their tries or more the service is in trouble: some of its hosts always have it worse than
// others, for a while. Then no host is odd, nor is any until the aftermath is over. Times are
// nanoseconds since any fixed moment.
//
// Worked example, rows of five: one host of ten hangs, and the others fail at most one try in
// twenty: it is odd. Where they fail one in ten, one of 100,000 tries ends such a row by chance,
// which is once in a minute somewhere in a busy service; ten in a row make it odd. Where they fail a quarter
// of their tries nobody is.
func (i *Incident) Odd(now int64, p Peers, own float64, row uint32) bool {
	best := p.best(own)
	if best >= ailing {
		i.until = now + int64(aftermath)
	}
	return now >= i.until && (best <= well || math.Pow(best, float64(row)) <= luck)
}

// Worse reports whether a host that fails this share of an interval's tries fails at least twice
// as often as the best quarter of its peers.
func (p Peers) Worse(own float64) bool { return own >= twice*p.best(own) }
