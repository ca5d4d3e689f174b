package resource

import (
	"encoding/binary"
	"encoding/json"
	"fmt"

	"weir.dev/weir/model"
)

// stored is an accepted version outside of this process.
type stored struct {
	At    Position `json:"at"`
	Value any      `json:"value"` // a *json.RawMessage when it is read

	// Where the fields were written, as Object has it. Absent in what older versions stored.
	Hash   model.Hash `json:"hash,omitempty"`
	Line   int        `json:"line,omitempty"`
	Places []byte     `json:"places,omitempty"` // root, then those of the fields
}

// Store encodes the accepted version of an object for Restore, secret data included. It
// returns nil if there is none.
func Store(o *Object) (json.RawMessage, error) {
	if o.Value == nil {
		return nil, nil
	}
	s := stored{At: o.At, Value: o.Value, Hash: o.Hash, Line: o.line}
	s.Places = o.root.append(make([]byte, 0, placeBytes*(1+len(o.fields))))
	for _, p := range o.fields {
		s.Places = p.append(s.Places)
	}
	data, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.Key, err)
	}
	return data, nil
}

// Restore decodes what Store made, and validates it again: schemas may have changed.
func Restore(data json.RawMessage) (*Object, error) {
	var value json.RawMessage
	s := stored{Value: &value}
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, err
	}
	var d Decoder
	objects, diagnostics := d.Decode(s.At.File, value)
	if len(objects) != 1 || objects[0].Value == nil {
		return nil, fmt.Errorf("stored object is refused: %v", diagnostics)
	}
	o := *objects[0]
	o.At, o.fields, o.root, o.line = s.At, nil, place{}, s.Line
	if len(s.Places) == 0 || len(s.Places)%placeBytes != 0 || s.Hash == "" {
		return &o, nil // every field has the position of the object
	}
	o.Hash, o.fields = s.Hash, make(places, 0, len(s.Places)/placeBytes)
	for b := s.Places; len(b) > 0; b = b[placeBytes:] {
		o.fields = append(o.fields, place{
			path: binary.LittleEndian.Uint64(b), line: binary.LittleEndian.Uint32(b[8:]), column: binary.LittleEndian.Uint32(b[12:]),
		})
	}
	o.root, o.fields = o.fields[0], o.fields[1:]
	return &o, nil
}
