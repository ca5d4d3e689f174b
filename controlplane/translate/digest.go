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

// digest writes a side's settings, and what their values point to.
func digest(w *bytes.Buffer, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			w.WriteString("-;")
			return
		}
		w.WriteByte('&')
		digest(w, v.Elem())
	case reflect.Struct:
		for _, f := range v.Fields() {
			digest(w, f)
		}
	case reflect.Slice:
		fmt.Fprintf(w, "%t,%d:", v.IsNil(), v.Len())
		for i := range v.Len() {
			digest(w, v.Index(i))
		}
	default:
		fmt.Fprintf(w, "%#v;", v)
	}
}
