package console

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/controlplane/rollout"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// apiDocument is what the tests need of the OpenAPI document.
type apiDocument struct {
	OpenAPI    string
	Paths      map[string]map[string]apiOperation
	Components struct{ Schemas map[string]any }
}

type apiOperation struct {
	Summary     string
	Parameters  []struct{ Name string }
	RequestBody *struct {
		Content map[string]struct{ Schema any }
	}
	Responses map[string]struct {
		Content map[string]struct{ Schema any }
	}
	Security []any
}

func TestDocumentAndHandlersAgree(t *testing.T) {
	h := newHarness(4)
	h.rollouts, h.faults = []rollout.Status{{Name: "shop/a"}}, []Fault{{Policy: "shop/slow", State: FaultActive, Routes: []string{}}}
	h.shadows = []model.ShadowReport{{Shadow: "shop/s", Comparison: &model.ShadowComparison{
		Fields: make([]model.ShadowField, 1), Examples: make([]model.ShadowExample, 1), Latency: &model.ShadowLatency{},
	}}}
	s := h.metrics.Route("shop/r0/0")
	s.Begin(0)
	s.End(0, &telemetry.Outcome{Code: 502, Flag: model.FlagUC, Duration: time.Millisecond})
	doc := get[apiDocument](t, h, "/api/v1/openapi.json")
	if doc.OpenAPI != "3.1.0" {
		t.Errorf("OpenAPI %s", doc.OpenAPI)
	}
	checked := 0
	for path, operations := range doc.Paths {
		for method, op := range operations {
			method = strings.ToUpper(method)
			body := ""
			if op.RequestBody != nil {
				body = map[string]string{
					"/api/v1/log-level": `{"level":"warn"}`, "/api/v1/explain": `{"url":"http://a.example.com/"}`, "/api/v1/budgets": `{"route":"shop/r0"}`,
					"/api/v1/rollouts": `{"name":"shop/a","do":"promote"}`, "/api/v1/faults/stop": `{"all":true}`, "/api/v1/faults/resume": `{"all":true}`,
					"/api/v1/drills": `{"name":"slow"}`, "/api/v1/drills/stop": `{"name":"slow"}`, "/api/v1/shadows/reset": `{"shadow":"shop/s"}`,
					"/api/v1/breakers/close": `{"target":"backend/shop/cart"}`,
				}[path]
			}
			w := h.do(method, path, body, "Authorization", "Bearer "+testToken)
			doc.check(t, method+" "+path, op, w)
			if w.Code/100 != 2 {
				t.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
			}
			if len(op.Security) > 0 {
				doc.check(t, method+" "+path+" without token", op, h.do(method, path, body))
			}
			doc.check(t, method+" "+path+" by a foreign name", op, h.do(method, path, body, "Host", "evil.example"))
			doc.check(t, "DELETE "+path, op, h.do("DELETE", path, ""))
			if len(op.Parameters) > 0 {
				doc.check(t, path+"?unknown", op, h.do(method, path+"?unknown=1", ""))
			}
			for _, p := range op.Parameters {
				doc.check(t, path+"?"+p.Name, op, h.do(method, path+"?"+p.Name+"="+url.QueryEscape("*"), ""))
			}
			checked++
		}
	}
	if checked != len(h.console.endpoints) {
		t.Errorf("%d operations in the document, %d endpoints served", checked, len(h.console.endpoints))
	}
}

func TestDocumentedFailuresMatchTheirSchema(t *testing.T) {
	h := newHarness(1)
	doc := get[apiDocument](t, h, "/api/v1/openapi.json")
	h.snapshot, h.state, h.err = nil, State{Draining: true}, fmt.Errorf("later: %w", ErrConflict)
	for _, target := range []string{"GET /readyz", "GET /api/v1/snapshot", "POST /api/v1/reload", "POST /api/v1/drain", "PUT /api/v1/log-level"} {
		method, path, _ := strings.Cut(target, " ")
		w := h.do(method, path, "{", "Authorization", "Bearer "+testToken)
		if w.Code < 400 {
			t.Errorf("%s: %d", target, w.Code)
		}
		doc.check(t, target, doc.Paths[path][strings.ToLower(method)], w)
	}
}

func TestTheCheckerFindsWhatIsWrong(t *testing.T) {
	doc := get[apiDocument](t, newHarness(1), "/api/v1/openapi.json")
	ref := map[string]any{"$ref": "#/components/schemas/Status"}
	good := newHarness(1).do("GET", "/api/v1/status", "").Body.Bytes()
	if err := doc.valid(ref, decode(t, good), "$"); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(map[string]any){
		"missing field":  func(m map[string]any) { delete(m, "revision") },
		"unknown field":  func(m map[string]any) { m["more"] = 1 },
		"wrong type":     func(m map[string]any) { m["revision"] = "7" },
		"wrong deeper":   func(m map[string]any) { m["state"].(map[string]any)["ready"] = 1.0 },
		"no integer":     func(m map[string]any) { m["revision"] = 7.5 },
		"wrong map item": func(m map[string]any) { m["traffic"].(map[string]any)["classes"] = map[string]any{"2xx": "1"} },
	} {
		v := decode(t, good).(map[string]any)
		spoil(v)
		if doc.valid(ref, v, "$") == nil {
			t.Errorf("%s was not found", name)
		}
	}
}

func decode(t *testing.T, b []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// check fails the test unless an answer is one that the document announces.
func (d apiDocument) check(t *testing.T, what string, op apiOperation, w *httptest.ResponseRecorder) {
	t.Helper()
	response, known := op.Responses[strconv.Itoa(w.Code)]
	if !known {
		t.Errorf("%s: status %d is not documented: %s", what, w.Code, w.Body)
		return
	}
	media, _, _ := strings.Cut(w.Header().Get("Content-Type"), ";")
	content, known := response.Content[media]
	if !known {
		t.Errorf("%s: media type %q is not documented", what, media)
		return
	}
	if !strings.HasSuffix(media, "json") {
		if w.Body.Len() == 0 {
			t.Errorf("%s: empty", what)
		}
		return
	}
	if err := d.valid(content.Schema, decode(t, w.Body.Bytes()), "$"); err != nil {
		t.Errorf("%s: %v: %s", what, err, w.Body)
	}
}

// valid checks a value against the few words of JSON Schema that the document uses.
func (d apiDocument) valid(s, v any, at string) error {
	m := s.(map[string]any)
	if ref, ok := m["$ref"].(string); ok {
		target, known := d.Components.Schemas[strings.TrimPrefix(ref, "#/components/schemas/")]
		if !known {
			return fmt.Errorf("%s: no schema %s", at, ref)
		}
		return d.valid(target, v, at)
	}
	ok := true
	switch m["type"] {
	case nil:
	case "string":
		_, ok = v.(string)
		if m["format"] == "date-time" && ok {
			_, err := time.Parse(time.RFC3339Nano, v.(string))
			ok = err == nil
		}
	case "boolean":
		_, ok = v.(bool)
	case "number":
		_, ok = v.(float64)
	case "integer":
		f, isNumber := v.(float64)
		ok = isNumber && f == float64(int64(f))
	case "array":
		list, isList := v.([]any)
		for i, item := range list {
			if err := d.valid(m["items"], item, fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
		ok = isList
	case "object":
		return d.validObject(m, v, at)
	default:
		return fmt.Errorf("%s: schema type %v", at, m["type"])
	}
	if !ok {
		return fmt.Errorf("%s: %v is no %v", at, v, m["type"])
	}
	return nil
}

func (d apiDocument) validObject(m map[string]any, v any, at string) error {
	object, ok := v.(map[string]any)
	if !ok {
		return fmt.Errorf("%s: %v is no object", at, v)
	}
	required, _ := m["required"].([]any)
	for _, name := range required {
		if _, there := object[name.(string)]; !there {
			return fmt.Errorf("%s: %v is missing", at, name)
		}
	}
	properties, _ := m["properties"].(map[string]any)
	names := make([]string, 0, len(object))
	for name := range object {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		property, known := properties[name]
		if !known {
			if property, known = m["additionalProperties"].(map[string]any); !known {
				return fmt.Errorf("%s: %s is not documented", at, name)
			}
		}
		if err := d.valid(property, object[name], at+"."+name); err != nil {
			return err
		}
	}
	return nil
}

// fill sets everything in a value to something that is not zero, pointers down to a depth.
func fill(v reflect.Value, depth int) {
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Unix(7, 0)))
		return
	case netip.AddrPort:
		v.Set(reflect.ValueOf(netip.MustParseAddrPort("10.0.0.1:80")))
		return
	case netip.Prefix:
		v.Set(reflect.ValueOf(netip.MustParsePrefix("10.0.0.0/8")))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("text")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(7)
	case reflect.Float64:
		v.SetFloat(0.5)
	case reflect.Pointer:
		if depth > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(v.Elem(), depth-1)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), depth-1)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		item := reflect.New(v.Type().Elem()).Elem()
		fill(item, depth-1)
		v.SetMapIndex(reflect.ValueOf("key"), item)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), depth)
		}
	default:
		panic("fill: " + v.Type().String())
	}
}

// TestModelFitsItsSchema fails when the model grows in a way that plain and the schema do
// not both follow.
func TestModelFitsItsSchema(t *testing.T) {
	doc := get[apiDocument](t, newHarness(1), "/api/v1/openapi.json")
	for _, v := range []any{&model.Listener{}, &model.Entry{}, &model.Cluster{}, &model.EndpointSet{}} {
		for _, full := range []bool{false, true} {
			if full {
				fill(reflect.ValueOf(v).Elem(), 9)
			}
			b, err := json.Marshal(plainOf(v))
			if err != nil {
				t.Fatal(err)
			}
			name := "Model" + reflect.TypeOf(v).Elem().Name()
			if err := doc.valid(map[string]any{"$ref": "#/components/schemas/" + name}, decode(t, b), name); err != nil {
				t.Errorf("%v: %s", err, b)
			}
		}
	}
}
