package resource

import (
	"math"
	"regexp"
	"unicode/utf8"

	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
)

// bounds answer one question about a value, fast: is it surely valid by its schema? They
// know what schemas mostly say and are unsure of the rest. Whatever is not surely valid, a
// cluster's own validator judges, which builds its validators anew for each value.
type bounds struct {
	form     form
	unsure   bool // the schema says more than is known here
	nullable bool

	fields    map[string]*bounds
	element   *bounds // of a list, or of an object that is a map
	required  []string
	enum      map[any]struct{} // nil: any value
	pattern   *regexp.Regexp
	low, high float64 // of numbers, inclusive
	least     int64   // of runes, elements or fields
	most      int64
}

// newBounds returns the bounds of a schema. A pattern that does not compile leaves it unsure.
func newBounds(s *structuralschema.Structural) *bounds {
	b := &bounds{
		form: shapeOfSchema(s).form, nullable: s.Nullable, fields: make(map[string]*bounds, len(s.Properties)),
		low: math.Inf(-1), high: math.Inf(1), most: math.MaxInt64,
	}
	b.unsure = b.form == formAny || b.form == formIntOrString || s.XEmbeddedResource
	for name := range s.Properties {
		property := s.Properties[name]
		b.fields[name] = newBounds(&property)
	}
	if s.Items != nil {
		b.element = newBounds(s.Items)
	} else if s.AdditionalProperties != nil && s.AdditionalProperties.Structural != nil {
		b.element = newBounds(s.AdditionalProperties.Structural)
	}
	if s.ValueValidation != nil {
		b.add(s.ValueValidation)
	}
	return b
}

func (b *bounds) add(v *structuralschema.ValueValidation) {
	b.required = v.Required
	switch v.Format {
	case "":
	case "int32":
		b.low, b.high = math.MinInt32, math.MaxInt32
	case "int64":
	default:
		b.unsure = true
	}
	if v.ExclusiveMaximum || v.ExclusiveMinimum || v.MultipleOf != nil || v.UniqueItems ||
		v.AllOf != nil || v.AnyOf != nil || v.OneOf != nil || v.Not != nil {
		b.unsure = true
	}
	if v.Minimum != nil {
		b.low = max(b.low, *v.Minimum)
	}
	if v.Maximum != nil {
		b.high = min(b.high, *v.Maximum)
	}
	for _, n := range []*int64{v.MinLength, v.MinItems, v.MinProperties} {
		if n != nil {
			b.least = max(b.least, *n)
		}
	}
	for _, n := range []*int64{v.MaxLength, v.MaxItems, v.MaxProperties} {
		if n != nil {
			b.most = min(b.most, *n)
		}
	}
	if v.Enum != nil {
		b.enum = map[any]struct{}{}
		for _, e := range v.Enum {
			switch value := e.Object.(type) {
			case string, float64:
				b.enum[value] = struct{}{}
			case int64:
				b.enum[float64(value)] = struct{}{}
			default:
				b.unsure = true
			}
		}
	}
	if v.Pattern != "" {
		var err error
		if b.pattern, err = regexp.Compile(v.Pattern); err != nil {
			b.unsure = true
		}
	}
}

// hold tells whether v is surely valid.
func (b *bounds) hold(v any) bool {
	if v == nil {
		return b.nullable
	}
	if b.unsure || !accepts(b.form, formOf(v)) {
		return false
	}
	switch v := v.(type) {
	case map[string]any:
		return b.holdObject(v)
	case []any:
		if !b.within(int64(len(v))) || b.element == nil {
			return false
		}
		for _, e := range v {
			if !b.element.hold(e) {
				return false
			}
		}
		return true
	case string:
		return b.listed(v) && b.within(int64(utf8.RuneCountInString(v))) && (b.pattern == nil || b.pattern.MatchString(v))
	case int64:
		return b.listed(float64(v)) && b.low <= float64(v) && float64(v) <= b.high
	case float64:
		return b.listed(v) && b.low <= v && v <= b.high
	default:
		return b.enum == nil
	}
}

func (b *bounds) within(n int64) bool { return b.least <= n && n <= b.most }

func (b *bounds) listed(v any) bool {
	_, ok := b.enum[v]
	return ok || b.enum == nil
}

func (b *bounds) holdObject(v map[string]any) bool {
	if b.enum != nil || !b.within(int64(len(v))) {
		return false
	}
	for _, name := range b.required {
		if _, ok := v[name]; !ok {
			return false
		}
	}
	for name, child := range v {
		f := b.fields[name]
		if f == nil {
			f = b.element
		}
		if f != nil && !f.hold(child) {
			return false
		}
	}
	return true
}
