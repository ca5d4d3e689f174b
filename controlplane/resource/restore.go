package resource

import (
	"encoding/json"
	"fmt"
)

// stored is an accepted version outside of this process.
type stored struct {
	At    Position        `json:"at"`
	Value json.RawMessage `json:"value"`
}

// Store encodes the accepted version of an object for Restore, secret data included. It
// returns nil if there is none.
func Store(o *Object) (json.RawMessage, error) {
	if o.Value == nil {
		return nil, nil
	}
	value, err := json.Marshal(o.Value)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.Key, err)
	}
	return json.Marshal(stored{At: o.At, Value: value})
}

// Restore decodes what Store made, and validates it again: schemas may have changed. The
// positions of fields are lost: each has that of the object.
func Restore(data json.RawMessage) (*Object, error) {
	var s stored
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, err
	}
	var d Decoder
	objects, diagnostics := d.Decode(s.At.File, s.Value)
	if len(objects) != 1 || objects[0].Value == nil {
		return nil, fmt.Errorf("stored object is refused: %v", diagnostics)
	}
	o := *objects[0]
	o.At, o.fields, o.root = s.At, nil, place{}
	return &o, nil
}
