package translate

import (
	"bytes"
	"fmt"
	"reflect"

	"weir.dev/weir/model"
)

// digestOf hashes a side of policies: every setting's value, and where it was written. It goes
// by the fields that there are and not by what a route or cluster makes of them: a setting may
// have no effect but together with one of a closer policy.
func digestOf(side any) model.Hash {
	var b bytes.Buffer
	digest(&b, reflect.ValueOf(side))
	return hashBytes(b.Bytes())
}

// digest writes a side's settings, which are pointers, those of the sides in it included.
func digest(w *bytes.Buffer, side reflect.Value) {
	for _, f := range side.Fields() {
		switch {
		case f.Kind() == reflect.Struct:
			digest(w, f)
		case f.IsNil():
			fmt.Fprint(w, "-;")
		default:
			fmt.Fprintf(w, "%#v;", f.Elem())
		}
	}
}
