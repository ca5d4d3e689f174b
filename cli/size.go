package cli

import (
	"math"
	"strconv"
	"strings"
)

// sizeUnits are what sizes are written in, as in resources.
var sizeUnits = []struct {
	name  string
	bytes int64
}{{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"Ti", 1 << 40}, {"k", 1e3}, {"M", 1e6}, {"G", 1e9}, {"T", 1e12}, {"", 1}}

// parseSize reads a whole number of bytes, such as 512Mi; false: it is none.
func parseSize(text string) (bytes int64, ok bool) {
	for _, unit := range sizeUnits {
		digits, found := strings.CutSuffix(text, unit.name)
		if !found {
			continue
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n < 0 || n > math.MaxInt64/unit.bytes {
			return 0, false
		}
		return n * unit.bytes, true
	}
	return 0, false
}
