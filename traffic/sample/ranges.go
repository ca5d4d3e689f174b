package sample

import (
	"cmp"
	"slices"

	"weir.dev/weir/model"
)

// ArmWeight is what an arm is to have, in proportion to the others. Weights may be numbers of
// buckets: then they sum up to model.Buckets.
type ArmWeight struct {
	Arm    string
	Weight uint64 // below 2^40
}

// Initial gives each arm one range, in the order given, in proportion to its weight. It returns
// nil where no arm has any weight.
func Initial(want []ArmWeight) []model.BucketRange {
	counts := apportion(want)
	var list []model.BucketRange
	from := 0
	for i, n := range counts {
		if n > 0 {
			list = append(list, model.BucketRange{Arm: want[i].Arm, From: uint16(from), To: uint16(from + n)})
			from += n
		}
	}
	return list
}

// Reweight returns ranges by which the arms have what they are to have, and which differ from prev
// in as few buckets as can be: an arm that is to have more gets some of those that are to have
// less, and nobody else's user moves. An arm that want does not name is to have nothing. Where
// prev does not cover all buckets the rest belongs to nobody, and is given away first. It returns nil
// where no arm has any weight.
//
// An arm gives its last buckets to those behind it in want, and its first ones to those before it.
// So what two arms have of each other's changes at one place alone: who joins the second when its
// share grows is who leaves it first when that shrinks.
//
//	stable 99, canary 1     stable [0,9900)  canary [9900,10000)
//	stable 90, canary 10    stable [0,9000)  canary [9000,10000)
//	stable 99, canary 1     as at first
//
// Each arm that gives or gets adds at most one range to those of prev, and two arms that
// share what is theirs between them again and again never have more than one place between them.
func Reweight(prev []model.BucketRange, want []ArmWeight) []model.BucketRange {
	counts := apportion(want)
	if counts == nil {
		return nil
	}
	d := division{spare: make([]int, len(want))}
	d.fill(prev, want)
	for _, owner := range d.owners {
		if owner >= 0 {
			d.spare[owner]++
		}
	}
	for i, n := range counts {
		d.spare[i] -= n
	}
	d.hand(nobody)
	for giver := range want {
		d.hand(giver)
	}
	return d.ranges(want)
}

// nobody owns the buckets that no arm has.
const nobody = -1

// division is the owner of each bucket, by its place in the list of arms.
type division struct {
	owners [model.Buckets]int
	spare  []int // how many buckets each arm has too many; below 0: too few
}

func (d *division) fill(list []model.BucketRange, arms []ArmWeight) {
	for b := range d.owners {
		d.owners[b] = nobody
	}
	for _, r := range list {
		owner := slices.IndexFunc(arms, func(a ArmWeight) bool { return a.Arm == r.Arm })
		for b := r.From; b < min(r.To, model.Buckets); b++ {
			d.owners[b] = owner
		}
	}
}

// hand gives what one arm has too many to those that have too few: to those before it from the
// first bucket on, to those behind it from the last one back.
func (d *division) hand(giver int) {
	up := 0
	for taker := 0; taker < giver; taker++ {
		for ; d.owes(giver, taker) && up < model.Buckets; up++ {
			d.give(up, giver, taker)
		}
	}
	down := model.Buckets - 1
	for taker := len(d.spare) - 1; taker > giver; taker-- {
		for ; d.owes(giver, taker) && down >= 0; down-- {
			d.give(down, giver, taker)
		}
	}
}

func (d *division) owes(giver, taker int) bool {
	return d.spare[taker] < 0 && (giver == nobody || d.spare[giver] > 0)
}

func (d *division) give(bucket, giver, taker int) {
	if d.owners[bucket] != giver {
		return
	}
	d.owners[bucket] = taker
	d.spare[taker]++
	if giver != nobody {
		d.spare[giver]--
	}
}

func (d *division) ranges(arms []ArmWeight) []model.BucketRange {
	var list []model.BucketRange
	from := 0
	for b := 1; b <= model.Buckets; b++ {
		if b < model.Buckets && d.owners[b] == d.owners[from] {
			continue
		}
		list = append(list, model.BucketRange{Arm: arms[d.owners[from]].Arm, From: uint16(from), To: uint16(b)})
		from = b
	}
	return list
}

// apportion divides all buckets in proportion to the weights, by the largest remainders (Hamilton's
// method), of equal ones the first. It returns nil where there is no weight at all.
func apportion(want []ArmWeight) []int {
	var total uint64
	for _, a := range want {
		total += a.Weight
	}
	if total == 0 {
		return nil
	}
	counts := make([]int, len(want))
	places := make([]int, len(want))
	left := model.Buckets
	for i, a := range want {
		counts[i] = int(a.Weight * model.Buckets / total)
		left -= counts[i]
		places[i] = i
	}
	remainder := func(i int) uint64 { return want[i].Weight * model.Buckets % total }
	slices.SortStableFunc(places, func(a, b int) int { return cmp.Compare(remainder(b), remainder(a)) })
	for _, i := range places[:left] {
		counts[i]++
	}
	return counts
}

// ShareOf returns the arms with as many buckets as they are to have while a release has the share
// of canary at that many of 10,000, 0 to model.Buckets: of what the weights give stable and canary
// together; the others keep what the weights give them. A share between nothing and all leaves
// each of the two one bucket at least, where they have two. Weights is nil, or sums up to
// model.Buckets. Names that weights does not hold are taken for arms without weight, behind the others.
func ShareOf(weights []ArmWeight, stable, canary string, share int) []ArmWeight {
	list := slices.Clone(weights)
	place := func(name string) int {
		i := slices.IndexFunc(list, func(a ArmWeight) bool { return a.Arm == name })
		if i < 0 {
			list, i = append(list, ArmWeight{Arm: name}), len(list)
		}
		return i
	}
	s, c := place(stable), place(canary)
	counts := apportion(list)
	if counts == nil {
		return nil
	}
	for i, n := range counts {
		list[i].Weight = uint64(n)
	}
	both := counts[s] + counts[c]
	share = min(max(share, 0), model.Buckets)
	n := (both*share + model.Buckets/2) / model.Buckets
	if both >= 2 && share > 0 && share < model.Buckets {
		n = min(max(n, 1), both-1)
	}
	list[c].Weight, list[s].Weight = uint64(n), uint64(both-n)
	return list
}
