package overload

import (
	"sync/atomic"
	"time"
)

// Heat is how busy a gate is, as steps of degradation see it: its utilisation (in flight and
// queued, of the limit, at most 1) as it rises, and a slow way back, so that what was given up
// returns late and little by little:
//
//	utilisation   0.5   0.96   0.90   0.87   0.40   0.40 …
//	heat          0.5   0.96   0.96   0.96   0.96   for a second, then 5 points less each second
//
// It holds while utilisation is within 10 points below it and for a second after. A step with
// at: 0.95 begins at 0.96. When the heat falls below 0.95 it applies to ever fewer requests,
// drawn by chance, and to none below 0.85: two seconds later. As soon as utilisation is at
// 0.95 again it applies to all.
type Heat uint16

const (
	falling    Heat = 1 << 15
	heatBand        = 100 // thousandths: 10 points
	heatDwell       = time.Second
	coolPerSec      = 50 // thousandths a second
)

// Share returns the heat as a number from 0 to 1.
func (h Heat) Share() float64 { return float64(h&^falling) / 1000 }

// Active reports whether a step that begins at the given share applies to a request. Only
// while the heat falls through the step's last 10 points does it draw a random number.
func (h Heat) Active(at float64, draw func() uint64) bool {
	level, from := int64(h&^falling), int64(at*1000+0.5)
	switch {
	case level >= from:
		return level > 0
	case h&falling == 0 || level <= from-heatBand:
		return false
	}
	return int64(draw()%heatBand) < level-(from-heatBand)
}

// heat is the level and the time up to which it holds, in one word: 44 bits of milliseconds
// and 16 bits of thousandths.
type heat struct{ word atomic.Uint64 }

// at returns the heat at a time, given the utilisation then in thousandths.
func (t *heat) at(now time.Duration, used int64) Heat {
	ms := now.Milliseconds()
	for {
		old := t.word.Load()
		peak, held := int64(old&0xffff), int64(old>>16)
		level := peak
		if ms > held {
			level = max(peak-(ms-held)*coolPerSec/1000, 0)
		}
		switch {
		case used >= level:
			level, peak, held = used, used, ms+heatDwell.Milliseconds()
		case ms <= held && used >= peak-heatBand:
			held = ms + heatDwell.Milliseconds()
		}
		if made := uint64(held)<<16 | uint64(peak); made == old || t.word.CompareAndSwap(old, made) {
			h := Heat(level)
			if ms > held {
				h |= falling
			}
			return h
		}
	}
}
