package console

import (
	"encoding"
	"maps"
	"path"
	"reflect"
	"slices"
	"strings"
	"time"

	"weir.dev/weir/model"
)

// schema is a JSON Schema (2020-12), as OpenAPI 3.1 uses it.
type schema map[string]any

var (
	durationType = reflect.TypeFor[time.Duration]()
	timeType     = reflect.TypeFor[time.Time]()

	certificateType = reflect.TypeFor[model.Certificate]()
	textType        = reflect.TypeFor[encoding.TextMarshaler]()
)

// schemas collects the named schemas that others refer to.
type schemas map[string]schema

// of returns the schema of what encoding/json makes of a type of this package, or plain of
// one of package model.
func (s schemas) of(t reflect.Type) schema {
	switch {
	case t == certificateType:
		return s.of(reflect.TypeFor[certificateView]())
	case t.Kind() == reflect.Pointer:
		return s.of(t.Elem())
	case t == durationType:
		return schema{"type": "string", "description": "a duration as Go writes it: 1m30s"}
	case t == timeType:
		return schema{"type": "string", "format": "date-time"}
	case t.Implements(textType):
		return schema{"type": "string"}
	}
	switch t.Kind() {
	case reflect.String:
		return schema{"type": "string"}
	case reflect.Bool:
		return schema{"type": "boolean"}
	case reflect.Int, reflect.Int64, reflect.Int32, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return schema{"type": "integer"}
	case reflect.Float64, reflect.Float32:
		return schema{"type": "number"}
	case reflect.Slice:
		return schema{"type": "array", "items": s.of(t.Elem())}
	case reflect.Map:
		return schema{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.Interface:
		return schema{} // anything
	case reflect.Struct:
		return s.object(t)
	default:
		panic("console: no schema for " + t.String())
	}
}

// object files a struct's schema under its name and returns a reference to it.
func (s schemas) object(t reflect.Type) schema {
	name := schemaName(t)
	ref := schema{"$ref": "#/components/schemas/" + name}
	if _, known := s[name]; known {
		return ref
	}
	properties := schema{}
	s[name] = schema{} // known from here on, should it contain itself
	required := []string{}
	for i := range t.NumField() {
		f := t.Field(i)
		property := maps.Clone(s.of(f.Type))
		if doc := f.Tag.Get("doc"); doc != "" {
			property["description"] = doc
		}
		properties[fieldName(f)] = property
		if mandatory(f) {
			required = append(required, fieldName(f))
		}
	}
	slices.Sort(required)
	s[name] = schema{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
	return ref
}

// mandatory says whether a field is always there.
func mandatory(f reflect.StructField) bool {
	if tag := f.Tag.Get("json"); tag != "" {
		return !strings.Contains(tag, ",omitempty") && !strings.Contains(tag, ",omitzero")
	}
	switch f.Type.Kind() {
	case reflect.Pointer, reflect.String, reflect.Slice, reflect.Map:
		return false
	default:
		return true
	}
}

// schemaName makes routeView Route, list[console.Object] ObjectList, and of other rooms' types
// model.Route ModelRoute and list[rollout.Status] RolloutStatusList.
func schemaName(t reflect.Type) string {
	if of, item, generic := strings.Cut(t.Name(), "["); generic {
		room, name, _ := strings.Cut(path.Base(strings.TrimSuffix(item, "]")), ".")
		return roomName(room, name) + title(of)
	}
	return roomName(path.Base(t.PkgPath()), t.Name())
}

func roomName(room, name string) string {
	if room == "console" {
		return title(strings.TrimSuffix(name, "View"))
	}
	return title(room) + name
}

func title(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
