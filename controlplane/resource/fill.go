package resource

import (
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// filling is what a schema says about defaults and about lists without duplicates. It does
// what is mostly to be done, fast, and leaves the rest, nulls and lists of several elements,
// to a cluster's own code, which copies schemas at every step.
type filling struct {
	structural *structuralschema.Structural
	properties map[string]*filling
	rest       *filling // of fields that are no property
	items      *filling
	initial    any  // the default; nil: none
	unique     bool // a list of which elements or their keys must be different
	objects    bool // and its elements objects
}

// newFilling returns nil for what is below no schema.
func newFilling(s *structuralschema.Structural) *filling {
	if s == nil {
		return nil
	}
	f := &filling{structural: s, initial: s.Default.Object, items: newFilling(s.Items), properties: make(map[string]*filling, len(s.Properties))}
	for name := range s.Properties {
		property := s.Properties[name]
		f.properties[name] = newFilling(&property)
	}
	if s.AdditionalProperties != nil {
		f.rest = newFilling(s.AdditionalProperties.Structural)
	}
	if s.XListType != nil {
		f.unique, f.objects = *s.XListType != "atomic", *s.XListType == "map"
	}
	return f
}

// fill fills in the defaults of an object.
func (f *filling) fill(object map[string]any) {
	if hasNull(object) {
		defaulting.PruneNonNullableNullsWithoutDefaults(object, f.structural)
		defaulting.Default(object, f.structural)
		return
	}
	f.add(object)
}

// hasNull tells whether there is a null in v.
func hasNull(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case map[string]any:
		for _, child := range v {
			if hasNull(child) {
				return true
			}
		}
	case []any:
		for _, child := range v {
			if hasNull(child) {
				return true
			}
		}
	}
	return false
}

// add adds the defaults to what has no nulls.
func (f *filling) add(v any) {
	if f == nil {
		return
	}
	switch v := v.(type) {
	case map[string]any:
		for name, property := range f.properties {
			if _, found := v[name]; !found && property.initial != nil {
				v[name] = runtime.DeepCopyJSONValue(property.initial)
			}
		}
		for name, child := range v {
			if property := f.properties[name]; property != nil {
				property.add(child)
			} else {
				f.rest.add(child)
			}
		}
	case []any:
		for _, child := range v {
			f.items.add(child)
		}
	}
}

// duplicates returns what a cluster says of elements that a list must not have twice.
func (f *filling) duplicates(object map[string]any) field.ErrorList {
	if f.surelyUnique(object) {
		return nil
	}
	return listtype.ValidateListSetsAndMaps(nil, f.structural, object)
}

func (f *filling) surelyUnique(v any) bool {
	if f == nil {
		return true
	}
	switch v := v.(type) {
	case map[string]any:
		for name, child := range v {
			// Both may count, as a cluster has it.
			if !f.properties[name].surelyUnique(child) || !f.rest.surelyUnique(child) {
				return false
			}
		}
	case []any:
		if f.unique && len(v) > 1 {
			return false
		}
		for _, child := range v {
			if _, object := child.(map[string]any); f.objects && !object || !f.items.surelyUnique(child) {
				return false
			}
		}
	}
	return true
}
