package console

import (
	"encoding"
	"reflect"
	"strings"
	"time"
	"unicode"

	"weir.dev/weir/model"
)

// redacted stands where a secret would.
const redacted = model.Redacted

// hidden returns a value, or redacted if its name says that it may be a secret.
func hidden(name, value string) string { return model.Hidden(name, value) }

// certificateView is what is shown of a model.Certificate.
type certificateView struct {
	Name        string `json:"name" doc:"where it is from: secret/namespace/name"`
	Fingerprint string `json:"fingerprint,omitempty" doc:"SHA-256 of the certificate itself, without the rest of its chain"`
}

// plain turns model objects into what JSON shows of them: field names in lowerCamelCase,
// durations as Go writes them, empty strings, lists, maps and pointers left out, and the
// values of headers that may be secrets redacted. schemaOf describes the result.
func plain(v reflect.Value) any {
	switch value := v.Interface().(type) {
	case time.Duration:
		return value.String()
	case model.Header:
		return map[string]any{"name": value.Name, "value": hidden(value.Name, value.Value)}
	case model.ValueMatch:
		return map[string]any{"name": value.Name, "type": value.Type, "value": hidden(value.Name, value.Value)}
	case model.Certificate:
		return plain(reflect.ValueOf(certificateView{value.Name, value.Fingerprint()}))
	case model.HealthCheck:
		out := plainFields(v)
		if value.Path != "" {
			out["path"] = value.ShownPath()
		}
		return out
	case model.PrivateKey:
		return redacted
	case encoding.TextMarshaler:
		b, err := value.MarshalText()
		if err != nil {
			return ""
		}
		return string(b)
	}
	switch v.Kind() {
	case reflect.Pointer:
		return plain(v.Elem())
	case reflect.Slice:
		out := make([]any, v.Len())
		for i := range out {
			out[i] = plain(v.Index(i))
		}
		return out
	case reflect.Map:
		out := make(map[string]any, v.Len())
		for it := v.MapRange(); it.Next(); {
			out[it.Key().String()] = plain(it.Value())
		}
		return out
	case reflect.Struct:
		return plainFields(v)
	default:
		return v.Interface()
	}
}

func plainFields(v reflect.Value) map[string]any {
	out := make(map[string]any, v.NumField())
	for i := range v.NumField() {
		if f := v.Field(i); !absent(f) {
			out[fieldName(v.Type().Field(i))] = plain(f)
		}
	}
	return out
}

func plainOf(v any) any { return plain(reflect.ValueOf(v)) }

// absent says whether plain leaves a value out.
func absent(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer:
		return v.IsNil()
	case reflect.String, reflect.Slice, reflect.Map:
		return v.Len() == 0
	default:
		return false
	}
}

// fieldName is a field's name in JSON: its tag's, or its own with the leading capitals
// made small (DNS, dns; MaxHead, maxHead; CORSAge, corsAge).
func fieldName(f reflect.StructField) string {
	if tag, _, _ := strings.Cut(f.Tag.Get("json"), ","); tag != "" {
		return tag
	}
	name := []rune(f.Name)
	for i := range name {
		if i > 0 && i+1 < len(name) && unicode.IsLower(name[i+1]) || !unicode.IsUpper(name[i]) {
			break
		}
		name[i] = unicode.ToLower(name[i])
	}
	return string(name)
}
