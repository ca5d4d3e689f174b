package model

import (
	"encoding/json"
	"testing"
)

// TestShares: every share survives its text, and numbers of earlier versions are read.
func TestShares(t *testing.T) {
	for want := Share(0); want <= Buckets; want++ {
		text, err := json.Marshal(want)
		var got Share
		if err != nil || json.Unmarshal(text, &got) != nil || got != want {
			t.Fatalf("%d is %s is %d: %v", want, text, got, err)
		}
	}
	for text, want := range map[string]Share{`"12.5%"`: 1250, `"100%"`: Buckets, `1250`: 1250, `"0%"`: 0} {
		var got Share
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s is %d, want %d: %v", text, got, want, err)
		}
	}
	for _, text := range []string{`"12.5"`, `"NaN%"`, `"-1%"`, `"101%"`, `"%"`, `true`, `""`} {
		if err := json.Unmarshal([]byte(text), new(Share)); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
	if got := Share(150).String(); got != "1.5%" {
		t.Error(got)
	}
}
