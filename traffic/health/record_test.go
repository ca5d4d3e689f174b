package health

import (
	"testing"
	"time"
)

// try ends a try and reports what Record.Observe says, times in milliseconds.
func (r *Record) try(at, took int, result Result) uint32 {
	return r.Observe(int64(at)*int64(time.Millisecond), time.Duration(took)*time.Millisecond, result)
}

// TestOvertakenTriesCountLater: a host is asked each 20 ms, and what takes 700 ms has failed.
func TestOvertakenTriesCountLater(t *testing.T) {
	for _, tc := range []struct {
		name     string
		lastGood int // when the last good answer came; the first failure follows at 10,000
		took     int
		answers  int // of a hundred tries, but none in a row of 16
		from     int // when the first failure counts
	}{
		{"the line is too long", 9_990, 700, 0, 10_700},
		{"hangs", 9_300, 700, 0, 10_000},
		{"hangs, what was in flight fails first", 9_400, 700, 0, 10_100},
		{"refuses at once", 9_999, 0, 0, 10_000},
		{"hangs mostly", 9_990, 700, 6, 10_700},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var r Record
			for at := 5_000; at <= tc.lastGood; at += 10 {
				r.try(at, 50, Served)
			}
			r.try(tc.lastGood, 50, Served)
			for i, at := 0, 10_000; at < 12_000; i, at = i+1, at+20 {
				if tc.answers > 0 && i%16 == 15 {
					r.try(at, 50, Served)
					continue
				}
				if got := r.try(at, tc.took, Unanswered); (got > 0) != (at >= tc.from) {
					t.Fatalf("at %d ms a row of %d; failures are to count from %d ms on", at, got, tc.from)
				}
			}
			if _, row := r.rows.Rows(); row < 4 {
				t.Errorf("a row of %d", row)
			}
		})
	}
}

// TestSpellsEnd: when a host does well again, what befalls it next begins anew.
func TestSpellsEnd(t *testing.T) {
	var r Record
	r.try(1000, 50, Served)
	for at := 1010; at < 2000; at += 10 {
		r.try(at, 700, Unanswered)
	}
	if _, row := r.rows.Rows(); row == 0 {
		t.Fatal("nothing counts: the test shows nothing")
	}
	for at := 2000; at < 3000; at += 10 {
		r.try(at, 600, Served)
	}
	if got := r.try(3000, 700, Unanswered); got != 0 {
		t.Errorf("a row of %d, by a try that was overtaken", got)
	}
	if r.Reset(); r.try(3010, 700, Unanswered) != 1 {
		t.Error("what was before a reset is not forgotten")
	}
}

// TestFaultsCountAtOnce: an answer says something about the host whatever overtook it.
func TestFaultsCountAtOnce(t *testing.T) {
	var r Record
	r.try(1000, 50, Served)
	if got := r.try(1010, 700, Faulty); got != 1 {
		t.Errorf("a row of %d", got)
	}
}
