package balance

import (
	"container/heap"
	"slices"
	"sync/atomic"
)

// maxSchedule bounds a schedule's slots: this many, or slotsPerHost for each host if
// that is more.
const (
	maxSchedule  = 4096
	slotsPerHost = 16
)

// RoundRobin serves hosts in turn, by weight and smoothly: a schedule is computed when
// the picker is built, and a request costs one atomic addition.
//
// The schedule is Tijdeman's (The chairman assignment problem, 1980), which is as smooth
// as one can be: after any number of slots t, a host of share s has had more than
// s·t - 1 and fewer than s·t + 1 of them. A slot goes to the host with the earliest
// deadline among those that are not ahead of their share. Worked example, weights
// A 5, B 1, C 1:
//
//	slot     1  2  3  4  5  6  7
//	host     A  A  B  A  A  C  A
//	A's s·t  .7 1.4 2.1 2.9 3.6 4.3 5
//	A has    1  2  2  3  4  4  5
//
// Weights are first divided by their greatest common divisor. Where their sum exceeds
// the bound on the schedule they are scaled down in proportion, every host keeping one
// slot at least.
type RoundRobin struct {
	schedule []int
	hosts    []int // with a weight
	_        [64]byte
	next     atomic.Uint64
	_        [56]byte
}

// NewRoundRobin returns a picker that begins at a slot chosen by seed.
func NewRoundRobin(hosts []Host, seed uint64) *RoundRobin {
	p := &RoundRobin{hosts: eligible(hosts)}
	weights := make([]uint64, len(p.hosts))
	for i, h := range p.hosts {
		weights[i] = uint64(hosts[h].Weight)
	}
	p.schedule = schedule(scale(weights, scheduleLimit(len(weights))))
	for i, at := range p.schedule {
		p.schedule[i] = p.hosts[at]
	}
	if len(p.schedule) > 0 {
		p.next.Store(seed % uint64(len(p.schedule)))
	}
	return p
}

// Pick implements Picker.
func (p *RoundRobin) Pick(r Request) int {
	if len(p.schedule) == 0 {
		return -1
	}
	host := p.turn()
	if len(r.Tried) == 0 {
		return host
	}
	for range redraws {
		if !slices.Contains(r.Tried, host) {
			return host
		}
		host = p.turn()
	}
	start := int(p.next.Load() % uint64(len(p.hosts)))
	return p.hosts[untried(p.hosts, start, r.Tried)]
}

func (p *RoundRobin) turn() int {
	return p.schedule[(p.next.Add(1)-1)%uint64(len(p.schedule))]
}

// scheduleLimit returns the bound on the slots for so many hosts.
func scheduleLimit(hosts int) int { return max(maxSchedule, slotsPerHost*hosts) }

// scale reduces weights so that they sum up to the limit at most, or to as much more as it
// takes to give each at least 1.
func scale(weights []uint64, limit int) []uint64 {
	divisor, sum := uint64(0), uint64(0)
	for _, w := range weights {
		divisor = gcd(divisor, w)
	}
	for i := range weights {
		weights[i] /= divisor
		sum += weights[i]
	}
	if sum <= uint64(limit) {
		return weights
	}
	for i, w := range weights {
		weights[i] = max(1, (w*uint64(limit)+sum/2)/sum)
	}
	return weights
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// schedule spreads positions 0 to len(weights)-1 over as many slots as the weights sum
// up to, in O(slots · log hosts).
//
// With n hosts, e = 1/(2n-2) and a host of share s = w/W, its k-th slot (from 0) may be
// given from slot number (k+e)/s on, and its deadline is (k+1-e)/s. All of it is kept in
// whole numbers by multiplying with 2n-2.
func schedule(weights []uint64) []int {
	total := uint64(0)
	for _, w := range weights {
		total += w
	}
	slots := make([]int, 0, total)
	if len(weights) == 1 {
		return make([]int, total)
	}
	scaled := uint64(2*len(weights) - 2)
	waiting := make([][]int, total+1) // by the slot from which they may run
	jobs := make([]job, len(weights))
	release := func(i int, soonest uint64) {
		w, k := weights[i], jobs[i].given
		jobs[i].deadline = scaled*(k+1) - 1
		jobs[i].weight = w
		// ceil(W · (k·scaled + 1) / (scaled · w))
		from := max(soonest, (total*(k*scaled+1)+scaled*w-1)/(scaled*w))
		if k < w && from <= total {
			waiting[from] = append(waiting[from], i)
		}
	}
	for i := range weights {
		release(i, 1)
	}
	ready := &queue{jobs: jobs}
	for t := uint64(1); t <= total; t++ {
		for _, i := range waiting[t] {
			heap.Push(ready, i)
		}
		waiting[t] = nil
		i := heap.Pop(ready).(int)
		slots = append(slots, i)
		jobs[i].given++
		release(i, t+1)
	}
	return slots
}

// job is a host's next slot; its deadline is deadline/weight in units of W/scaled.
type job struct{ given, deadline, weight uint64 }

// queue is a heap of job indices by deadline, then index.
type queue struct {
	jobs  []job
	order []int
}

func (q *queue) Len() int { return len(q.order) }

func (q *queue) Less(a, b int) bool {
	i, j := q.order[a], q.order[b]
	x, y := q.jobs[i].deadline*q.jobs[j].weight, q.jobs[j].deadline*q.jobs[i].weight
	if x != y {
		return x < y
	}
	return i < j
}

func (q *queue) Swap(a, b int) { q.order[a], q.order[b] = q.order[b], q.order[a] }
func (q *queue) Push(x any)    { q.order = append(q.order, x.(int)) }

func (q *queue) Pop() any {
	last := q.order[len(q.order)-1]
	q.order = q.order[:len(q.order)-1]
	return last
}
