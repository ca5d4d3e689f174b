package model

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Share is a share of Buckets. As text it is what policies have: 150 is "1.5%".
type Share int

func (s Share) String() string {
	return strconv.FormatFloat(float64(s)*100/Buckets, 'f', -1, 64) + "%"
}

// MarshalText implements encoding.TextMarshaler, and so JSON has strings.
func (s Share) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalJSON takes "1.5%", and numbers of buckets, as earlier versions have written down. Its error says
// what a share looks like.
func (s *Share) UnmarshalJSON(text []byte) error {
	var buckets int
	if json.Unmarshal(text, &buckets) == nil {
		*s = Share(buckets)
		return nil
	}
	number, percent := strings.CutSuffix(strings.Trim(string(text), `"`), "%")
	share, err := strconv.ParseFloat(number, 64)
	if err != nil || !percent || !(share >= 0 && share <= 100) {
		return fmt.Errorf("%s is no share: want one such as 12.5%%", text)
	}
	*s = Share(math.Round(share * Buckets / 100))
	return nil
}
