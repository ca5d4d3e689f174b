package retry

import (
	"fmt"
	"math"
	"sort"
	"time"

	"weir.dev/weir/model"
)

// Try is one try of a request for which everything goes wrong: each try before it has taken
// all the time that it may.
type Try struct {
	// Earliest is when it starts after the shortest backoff before each try, Latest after the
	// longest; both from the beginning of the request.
	Earliest, Latest time.Duration
	// Ends is when it is over at the latest; 0: nothing ends it.
	Ends time.Duration
	// Never says that the request is over before Earliest; Late, that it is before Latest.
	Never, Late bool
	// Cut says that the end of the request comes before its own, also after the shortest
	// backoff.
	Cut bool
}

// Pause returns the bounds of the wait before the n-th retry, from 1.
func Pause(r *model.Retry, n int) (shortest, longest time.Duration) {
	if r.On == nil {
		return r.Backoff, 2 * r.Backoff
	}
	longest = r.BackoffMax
	if n--; r.BackoffBase < longest>>min(n, 62) {
		longest = r.BackoffBase << n
	}
	return 0, max(longest, 0)
}

// maxListed is how many tries Tries lists: a rule's own retry may have any number.
const maxListed = 32

// Tries lists the tries of a request for which everything goes wrong, the first 32 of them, with
// those that never start. r may be nil: there is one try then. For example, with 2 retries of at
// most 700ms each in 2s, and a backoff of up to 25ms, then 50ms:
//
//	try  earliest  latest  ends
//	1    0         0       700ms
//	2    700ms     725ms   1.425s
//	3    1.4s      1.475s  2s      cut: 1.4s + 700ms = 2.1s
//
// Without a time for one try the first takes all that the request has, and the others are only
// for failures that come sooner: none of them counts as never starting.
func Tries(t model.Timeouts, r *model.Retry) []Try {
	tries := make([]Try, min(1+attempts(r), maxListed))
	for i := range tries {
		tries[i] = nth(t, r, i)
	}
	return tries
}

// nth returns the try after n others.
func nth(t model.Timeouts, r *model.Retry, n int) Try {
	var shortest, longest time.Duration
	switch {
	case n == 0:
	case r.On == nil:
		once, twice := Pause(r, n)
		shortest, longest = times(n, once), times(n, twice)
	default: // of a TrafficPolicy, which has at most ten
		for i := range min(n, maxListed) {
			_, pause := Pause(r, i+1)
			longest = sum(longest, pause)
		}
	}
	before := times(n, t.PerTry)
	try := Try{Earliest: sum(before, shortest), Latest: sum(before, longest)}
	if t.PerTry > 0 {
		try.Ends = sum(try.Latest, t.PerTry)
	}
	if t.Request > 0 && t.PerTry > 0 {
		try.Never, try.Late = try.Earliest >= t.Request, try.Latest >= t.Request
		try.Cut = !try.Never && sum(try.Earliest, t.PerTry) > t.Request
	}
	if t.Request > 0 && (try.Ends == 0 || try.Ends > t.Request) {
		try.Ends = t.Request
	}
	return try
}

// last returns the last try.
func last(t model.Timeouts, r *model.Retry) Try { return nth(t, r, attempts(r)) }

// sum and times stay at the longest duration where the result is longer.
func sum(a, b time.Duration) time.Duration {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

func times(n int, d time.Duration) time.Duration {
	if d > 0 && n > int(math.MaxInt64/d) {
		return math.MaxInt64
	}
	return time.Duration(n) * d
}

func attempts(r *model.Retry) int {
	if r == nil {
		return 0
	}
	return r.Attempts
}

// Reachable returns how many tries can start when each takes all of its time, at least 1.
func Reachable(t model.Timeouts, r *model.Retry) int {
	return 1 + sort.Search(attempts(r), func(i int) bool { return nth(t, r, i+1).Never })
}

// WorstCase returns the longest that all tries and the waits between them may take; false:
// nothing bounds it.
func WorstCase(t model.Timeouts, r *model.Retry) (time.Duration, bool) {
	ends := last(t, r).Ends
	return ends, ends > 0
}

// Contradiction returns the sum that proves that the last try can never start when each before
// it takes all of its time; empty: it can. "5 tries × 700ms + backoff = 3.5s or more before the
// 6th, request is 2s".
func Contradiction(t model.Timeouts, r *model.Retry) string {
	end := last(t, r)
	if !end.Never {
		return ""
	}
	n := attempts(r)
	word := "tries"
	if n == 1 {
		word = "try"
	}
	return fmt.Sprintf("%d %s × %v + backoff = %v or more before the %s, request is %v", n, word, t.PerTry, end.Earliest, ordinal(n+1), t.Request)
}

// Lateness returns the sum that proves that the last try does not start after the longest
// backoff, though it does after the shortest; empty: it does.
func Lateness(t model.Timeouts, r *model.Retry) string {
	end := last(t, r)
	if end.Never || !end.Late {
		return ""
	}
	n := attempts(r)
	return fmt.Sprintf("%d × %v + backoff = between %v and %v before the %s, request is %v", n, t.PerTry, end.Earliest, end.Latest, ordinal(n+1), t.Request)
}

// Shortage returns the sum that proves that the last try is cut short, though it can start;
// empty: it is not.
func Shortage(t model.Timeouts, r *model.Retry) string {
	end, n := last(t, r), attempts(r)
	if !end.Cut || n == 0 {
		return ""
	}
	return fmt.Sprintf("%v + %v = %v, request is %v: the %s try is cut short", end.Earliest, t.PerTry, end.Earliest+t.PerTry, t.Request, ordinal(n+1))
}

// ordinal writes 1st, 2nd, 11th.
func ordinal(n int) string {
	suffix := "th"
	if n%100 < 11 || n%100 > 13 {
		switch n % 10 {
		case 1:
			suffix = "st"
		case 2:
			suffix = "nd"
		case 3:
			suffix = "rd"
		}
	}
	return fmt.Sprint(n, suffix)
}

// Most returns how many tries one request may become: the first, the retries, and those beside
// the first.
func Most(r *model.Retry) int {
	if r == nil {
		return 1
	}
	n := 1 + r.Attempts
	if r.Hedge != nil && r.Hedge.Mode.Acts() {
		n += r.Hedge.Max
	}
	return n
}

// Expected returns how many tries a request becomes on average when a share of tries fails,
// 0 to 1, each by itself, in a way that is tried again: 1 + f + f² ..., one term for each try.
// Hedges are left out.
func Expected(r *model.Retry, failing float64) float64 {
	n := float64(attempts(r) + 1)
	if failing >= 1 {
		return n
	}
	return (1 - math.Pow(failing, n)) / (1 - failing)
}

// Stricter returns the budget that lets fewer tries through at a rate of first tries per second;
// nil stands for none. One that does not enforce is none.
func Stricter(a, b *model.RetryBudget, rate float64) *model.RetryBudget {
	a, b = binding(a), binding(b)
	if a == nil || b != nil && Ceiling(b, rate) < Ceiling(a, rate) {
		return b
	}
	return a
}

// binding returns a budget if it enforces, else nil.
func binding(b *model.RetryBudget) *model.RetryBudget {
	if b == nil || !b.Mode.Acts() {
		return nil
	}
	return b
}

// Ceiling returns the most tries for each first one that a budget lets through at a rate of
// first tries per second: 1 + share + minPerSecond / rate. Without a budget that enforces it is
// infinite, and at rate 0 the floor is left out: it is what a cluster of much traffic comes to.
func Ceiling(b *model.RetryBudget, rate float64) float64 {
	if binding(b) == nil {
		return math.Inf(1)
	}
	ceiling := 1 + b.Share
	if rate > 0 {
		ceiling += float64(b.MinPerSecond) / rate
	}
	return ceiling
}
