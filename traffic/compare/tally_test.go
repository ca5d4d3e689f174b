package compare

import (
	"fmt"
	"testing"
	"time"

	"weir.dev/weir/model"
)

func at(fields ...string) (list []Difference) {
	for _, f := range fields {
		list = append(list, Difference{f, "1", "2"})
	}
	return list
}

// TestNoiseIsSetAgainstDifferences: what also differs between two answers of the primary is not
// counted, and a place where that happens about as often is called noisy.
func TestNoiseIsSetAgainstDifferences(t *testing.T) {
	var tally Tally
	for i := range 1000 {
		f := Finding{Paired: true, Method: "GET", Path: "/", At: time.Unix(int64(i), 0)}
		if i%2 == 0 { // a clock that ticks now and then
			f.Differences = append(f.Differences, at("$.now")...)
		}
		if i%2 == 1 || i%10 == 0 {
			f.Noise = append(f.Noise, at("$.now")...)
		}
		if i%100 == 0 {
			f.Differences = append(f.Differences, at("$.price")...)
		}
		tally.Add(&f)
	}
	tally.Uncompared()
	r := tally.Report()
	want := []model.ShadowField{
		{Field: "$.now", Different: 500, Noise: 600, Net: 400, Noisy: true},
		{Field: "$.price", Different: 10, Net: 10},
	}
	if r.Equal != 500 || r.Noise != 90 || r.Different != 410 || r.Uncompared != 1 || r.Compared() != 1000 || fmt.Sprint(r.Fields) != fmt.Sprint(want) {
		t.Errorf("got %+v", r)
	}
}

// TestNoiseOfSomeRequests: what was compared without a second answer of the primary makes noise no less.
func TestNoiseOfSomeRequests(t *testing.T) {
	var tally Tally
	for i := range 1000 {
		f := Finding{Differences: at("$.now"), Paired: i%10 == 0}
		if f.Paired {
			f.Noise = at("$.now")
		}
		tally.Add(&f)
	}
	if r := tally.Report(); !r.Fields[0].Noisy || r.Fields[0].Net != 900 {
		t.Errorf("%+v, want it noisy", r.Fields[0])
	}
}

func TestTallyIsBounded(t *testing.T) {
	var tally Tally
	for i := range 3 * maxFields {
		tally.Add(&Finding{Differences: at(fmt.Sprintf("$.f%d", i)), At: time.Unix(int64(i), 0)})
	}
	tally.Add(&Finding{Differences: at("$.f0"), At: time.Unix(1000, 0)})
	r := tally.Report()
	if len(r.Fields) != maxFields || r.Other != 2*maxFields || len(r.Examples) != maxExamples || r.Different != 3*maxFields+1 {
		t.Errorf("%d fields, %d others, %d examples, %d different", len(r.Fields), r.Other, len(r.Examples), r.Different)
	}
	if e := r.Examples[0]; e.Field != "$.f0" || e.At != time.Unix(1000, 0) {
		t.Errorf("the newest is %v", e)
	}
	if tally.Reset(); tally.Report().Compared() != 0 || len(tally.Report().Fields)+len(tally.Report().Examples) != 0 {
		t.Error("not reset")
	}
}

// TestOneExampleOfAPlace: one that differs each time does not push out the rest.
func TestOneExampleOfAPlace(t *testing.T) {
	var tally Tally
	tally.Add(&Finding{Differences: at("$.rare"), At: time.Unix(1, 0)})
	for i := range 100 {
		tally.Add(&Finding{Differences: at("$.often"), At: time.Unix(int64(2+i), 0)})
	}
	if r := tally.Report(); len(r.Examples) != 2 || r.Examples[0].At != time.Unix(101, 0) || r.Examples[1].Field != "$.rare" {
		t.Errorf("%v", r.Examples)
	}
}
