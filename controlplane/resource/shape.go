package resource

import (
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"

	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// form is the form of a value in JSON.
type form uint8

const (
	formAny form = iota
	formObject
	formList
	formString
	formInteger
	formNumber
	formBoolean
	formIntOrString
)

// String names the form in "expected ...".
func (f form) String() string {
	return [...]string{"anything", "an object", "a list", "a string", "an integer", "a number", "a boolean", "an integer or a string"}[f]
}

// shape is which fields a value may have and of what form: what is left of a schema when
// every bound and rule is taken away.
type shape struct {
	form    form
	fields  map[string]*shape // of an object
	element *shape            // of a list, or of an object that is a map
	open    bool              // any other field is fine too
	want    string            // more than form says, for "expected ...": a duration such as "5s"
	narrow  bool              // an integer has 32 bits
	low     int64             // of such, by the schema
	high    int64
}

// expected says what a value should be.
func (s *shape) expected() string {
	if s.want != "" {
		return s.want
	}
	return s.form.String()
}

// fieldNames returns the names of the fields, sorted.
func (s *shape) fieldNames() []string { return slices.Sorted(maps.Keys(s.fields)) }

// shapeOfSchema returns the shape of a CRD's schema.
func shapeOfSchema(s *structuralschema.Structural) *shape {
	if s.XIntOrString {
		return &shape{form: formIntOrString, want: wanted(s)}
	}
	switch s.Type {
	case "object":
		sh := &shape{form: formObject, open: s.XPreserveUnknownFields, fields: make(map[string]*shape, len(s.Properties))}
		for name := range s.Properties {
			property := s.Properties[name]
			sh.fields[name] = shapeOfSchema(&property)
		}
		if a := s.AdditionalProperties; a != nil {
			sh.open = sh.open || a.Bool
			if a.Structural != nil {
				sh.element = shapeOfSchema(a.Structural)
			}
		}
		return sh
	case "array":
		sh := &shape{form: formList, element: &shape{}}
		if s.Items != nil {
			sh.element = shapeOfSchema(s.Items)
		}
		return sh
	case "string":
		return &shape{form: formString, want: wanted(s)}
	case "integer":
		return integerShape(s.ValueValidation)
	case "number":
		return &shape{form: formNumber}
	case "boolean":
		return &shape{form: formBoolean}
	}
	return &shape{form: formAny}
}

// Patterns by which schemas say that a string is a duration (GEP-2257), a percentage, the
// factor of a bounded load, a failure that is tried again, statuses, the path of a health check,
// a quantile, a number of standard deviations, a SPIFFE id, how sure a test must be, a ratio, a
// number, an objective, an approver, a path in JSON or a quantity.
const (
	durationPattern  = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"
	percentPattern   = `^(100(\.0{1,2})?|[1-9]?[0-9](\.[0-9]{1,2})?)%$`
	factorPattern    = `^(0|[1-9][0-9]{0,2}(\.[0-9]{1,3})?)$`
	failurePattern   = `^(ConnectFailure|Reset|` // and so on
	statusesPattern  = `^[2-5][0-9]{2}(-[2-5][0-9]{2})?$`
	checkPattern     = `^/[!-"$-~]*$`
	quantilePattern  = `^p[5-9][0-9](\.[0-9])?$`
	deviationPattern = `^(0|[1-9][0-9]?)(\.[0-9]{1,3})?$`
	identityPattern  = `^spiffe://[a-z0-9._-]{1,255}(/[A-Za-z0-9._-]+)+$`
	surePattern      = `^[5-9][0-9](\.[0-9]{1,3})?%$`
	ratioPattern     = `^[1-9][0-9]{0,2}(\.[0-9]{1,3})?$`
	numberPattern    = `^-?[0-9]{1,15}(\.[0-9]{1,9})?$`
	promisePattern   = `^[0-9]{1,2}(\.[0-9]{1,3})?%$`
	approverPattern  = `^(team|role|user):`
	jsonPathPattern  = `^\$[.\[]`
	quantityPattern  = `^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|`
)

// What is expected where the patterns of the same names stand.
const (
	percentText   = `a percentage such as "50%", up to "100%"`
	failureText   = "ConnectFailure, Reset, RefusedStream, PerTryTimeout, a status from 400 to 599, or a code of gRPC such as UNAVAILABLE"
	statusText    = `a status from 200 to 599, or a range of them such as "200-299"`
	pathText      = `a path that begins with /, without spaces, #, or letters that are not ASCII`
	quantileText  = `a quantile from "p50" to "p99.9"`
	deviationText = `a decimal in quotes such as "1.9", or "0" for no bound`
	identityText  = "a SPIFFE id such as spiffe://prod/ns/shop/sa/cart"
	quantityText  = `a quantity such as "64Ki"`
	sureText      = `a percentage from "50%" to below "100%", such as "99.9%"`
	ratioText     = `a decimal in quotes from "1" on, such as "1.5"`
	numberText    = `a decimal in quotes such as "0.9"`
	promiseText   = `a percentage below "100%" such as "99.9%"`
	approverText  = "team:, role: or user: and a name, such as team:payments"
	jsonPathText  = "a path such as $.items[*].id"
	factorText    = `a decimal in quotes such as "1.25", from "1" on, or "0" for no bound`
)

// patternTexts say what the patterns of schemas ask for, by how they begin.
var patternTexts = map[string]string{
	durationPattern:  "a duration such as 700ms, 1m30s or 720h",
	percentPattern:   percentText,
	factorPattern:    factorText,
	failurePattern:   failureText,
	statusesPattern:  statusText,
	checkPattern:     pathText,
	quantilePattern:  quantileText,
	deviationPattern: deviationText,
	identityPattern:  identityText,
	surePattern:      sureText,
	ratioPattern:     ratioText,
	numberPattern:    numberText,
	promisePattern:   promiseText,
	approverPattern:  approverText,
	jsonPathPattern:  jsonPathText,
	quantityPattern:  quantityText,
}

// wanted says what a value with a well-known pattern is.
func wanted(s *structuralschema.Structural) string {
	if s.ValueValidation == nil || s.ValueValidation.Pattern == "" {
		return ""
	}
	if s.ValueValidation.Pattern == durationPattern {
		return `a duration such as "5s"`
	}
	for pattern, text := range patternTexts {
		if strings.HasPrefix(s.ValueValidation.Pattern, pattern) {
			return text
		}
	}
	return ""
}

// integerShape returns the shape of an integer. Only what has 32 bits has a range here, for
// the schema's validator speaks of those twice.
func integerShape(v *structuralschema.ValueValidation) *shape {
	if v == nil || v.Format != "int32" {
		return &shape{form: formInteger}
	}
	sh := &shape{form: formInteger, narrow: true, low: math.MinInt32, high: math.MaxInt32}
	if v.Minimum != nil {
		sh.low = max(sh.low, int64(math.Ceil(*v.Minimum)))
	}
	if v.Maximum != nil {
		sh.high = min(sh.high, int64(math.Floor(*v.Maximum)))
	}
	return sh
}

// shapeOfRoot is shapeOfSchema for a whole object, whose metadata the schema leaves open.
func shapeOfRoot(s *structuralschema.Structural) *shape {
	sh := shapeOfSchema(s)
	sh.fields["metadata"] = shapeOfType(reflect.TypeFor[metav1.ObjectMeta]())
	return sh
}

// wellKnown are the types that encode themselves.
var wellKnown = map[reflect.Type]form{
	reflect.TypeFor[metav1.Time]():          formString,
	reflect.TypeFor[metav1.MicroTime]():     formString,
	reflect.TypeFor[apiresource.Quantity](): formAny,
	reflect.TypeFor[intstr.IntOrString]():   formIntOrString,
	reflect.TypeFor[metav1.FieldsV1]():      formAny,
	reflect.TypeFor[[]byte]():               formString, // base64
}

// shapeOfType returns the shape of a Go type by its JSON tags. The type must not be recursive.
func shapeOfType(t reflect.Type) *shape {
	if f, ok := wellKnown[t]; ok {
		return &shape{form: f}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return shapeOfType(t.Elem())
	case reflect.Struct:
		sh := &shape{form: formObject, fields: map[string]*shape{}}
		addFields(sh, t)
		return sh
	case reflect.Map:
		return &shape{form: formObject, element: shapeOfType(t.Elem())}
	case reflect.Slice:
		return &shape{form: formList, element: shapeOfType(t.Elem())}
	case reflect.String:
		return &shape{form: formString}
	case reflect.Bool:
		return &shape{form: formBoolean}
	case reflect.Float32, reflect.Float64:
		return &shape{form: formNumber}
	case reflect.Int32:
		return &shape{form: formInteger, narrow: true, low: math.MinInt32, high: math.MaxInt32}
	case reflect.Int, reflect.Int64:
		return &shape{form: formInteger}
	default:
		return &shape{form: formAny}
	}
}

func addFields(sh *shape, t reflect.Type) {
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported():
		case name == "" && (f.Anonymous || options == "inline"):
			addFields(sh, f.Type)
		case name != "":
			sh.fields[name] = shapeOfType(f.Type)
		}
	}
}
