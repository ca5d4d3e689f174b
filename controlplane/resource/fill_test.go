package resource

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apimachinery/pkg/runtime"
	"pgregory.net/rapid"
)

// Defaults and duplicates are those of a cluster, for every kind with a CRD.
func TestFillingAgrees(t *testing.T) {
	for _, k := range kinds {
		c, err := k.schema.compile()
		if err != nil {
			t.Fatal(err)
		}
		if c.structural == nil {
			continue
		}
		draw := someRoute
		if k.name != "HTTPRoute" {
			draw = func(t *rapid.T) string { return rapid.SampledFrom(specs[k.name]).Draw(t, "spec") }
		}
		t.Run(k.name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				var object map[string]any
				if err := json.Unmarshal(fmt.Appendf(nil, `{"metadata":{"name":"a"},"spec":%s}`, draw(t)), &object); err != nil {
					t.Fatal(err)
				}
				object = integers(object).(map[string]any)
				for range rapid.IntRange(0, 2).Draw(t, "spoilt") {
					spoil(t, object["spec"])
				}
				want := runtime.DeepCopyJSON(object)
				defaulting.PruneNonNullableNullsWithoutDefaults(want, c.structural)
				defaulting.Default(want, c.structural)
				c.filling.fill(object)
				if diff := cmp.Diff(want, object); diff != "" {
					t.Fatalf("defaults (-cluster +ours):\n%s", diff)
				}
				said := listtype.ValidateListSetsAndMaps(nil, c.structural, object)
				if got := c.filling.duplicates(object); len(got) != len(said) {
					t.Fatalf("duplicates %v, a cluster says %v", got, said)
				}
			})
		})
	}
}

// A predicate that CEL would not have to be asked after saves most of the time that rules
// take: of a usual route none is left to CEL.
func TestPredicatesDecide(t *testing.T) {
	c, err := kindOf("gateway.networking.k8s.io", "HTTPRoute").schema.compile()
	if err != nil {
		t.Fatal(err)
	}
	var object map[string]any
	if err := json.Unmarshal([]byte(`{"spec":{"parentRefs":[{"name":"a"},{"name":"b","sectionName":"c"}],"hostnames":["a.test"],"rules":[
		{"name":"x","matches":[{"path":{"type":"PathPrefix","value":"/a"}}],"filters":[{"type":"URLRewrite","urlRewrite":{"path":{"type":"ReplacePrefixMatch","replacePrefixMatch":"/"}}}],"backendRefs":[{"name":"s","port":80}]},
		{"backendRefs":[{"name":"s","port":80,"weight":1}]}]}}`), &object); err != nil {
		t.Fatal(err)
	}
	object = integers(object).(map[string]any)
	c.filling.fill(object)
	if left := c.rules.left(object); left != 0 {
		t.Errorf("%d rules are left to CEL", left)
	}
}

// left counts the rules of which predicates are unsure.
func (r *rules) left(v any) (n int) {
	if r == nil {
		return 0
	}
	for _, p := range r.programs {
		if !p.quick.holds(v) {
			n++
		}
	}
	switch v := v.(type) {
	case map[string]any:
		for name, child := range v {
			n += r.fields[name].left(child) + r.items.left(child)
		}
	case []any:
		for _, child := range v {
			n += r.items.left(child)
		}
	}
	return n
}

// Every rule of every kind can be run by CEL itself.
func TestProgramsCompile(t *testing.T) {
	for _, k := range kinds {
		c, err := k.schema.compile()
		if err != nil {
			t.Fatal(err)
		}
		if n := c.rules.uncompiled(); n > 0 {
			t.Errorf("%s: CEL cannot run %d rules", k.name, n)
		}
	}
}

func (r *rules) uncompiled() (n int) {
	if r == nil {
		return 0
	}
	for _, p := range r.programs {
		if p.cel() == nil {
			n++
		}
	}
	for _, f := range r.fields {
		n += f.uncompiled()
	}
	return n + r.items.uncompiled()
}
