package resource

import (
	"fmt"
	"sync"

	celgo "github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/ext"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/common"
	"k8s.io/apiserver/pkg/cel/library"
)

// rules answer one question about an object, fast: do all CEL rules of its schema hold? A
// cluster's own validator, which is asked for the reasons when they do not, takes ten times
// as long: it makes a map of all properties anew at each access to a field, and counts the
// cost of each step, which is bounded for our schemas by the length of lists and strings.
//
// A node of the tree stands for a node of the schema; nodes below which there is no rule
// are left out.
type rules struct {
	schema   common.Schema
	programs []program
	fields   map[string]*rules
	items    *rules // of a list, or of an object that is a map
}

// program is one rule.
type program struct {
	quick *predicate // asked first; nil: it knows nothing of the rule
	// cel returns the rule as CEL runs it, made when first asked for, or nil if it does not
	// compile, which a test rules out.
	cel func() celgo.Program
}

// newRules compiles the rules of a schema. Rules about changes (oldSelf) are left out:
// every version of an object is judged as if it were new.
func newRules(s *structuralschema.Structural) (*rules, error) {
	env, err := celgo.NewEnv(
		celgo.HomogeneousAggregateLiterals(), celgo.DefaultUTCTimeZone(true), celgo.CrossTypeNumericComparisons(true),
		celgo.OptionalTypes(), celgo.ASTValidators(), ext.Strings(ext.StringsVersion(2)), ext.Sets(),
		library.URLs(), library.Regex(), library.Lists(), library.Quantity(), library.IP(), library.CIDR(), library.Format(),
	)
	if err != nil {
		return nil, err
	}
	return compileRules(env, newFastSchema(model.WithTypeAndObjectMeta(s)), s, model.SchemaDeclType(s, true))
}

// compileRules follows the walk of apiextensions' own validator. It returns nil where there
// are no rules.
func compileRules(env *celgo.Env, view *fastSchema, s *structuralschema.Structural, typ *apiservercel.DeclType) (*rules, error) {
	if typ == nil {
		return nil, nil
	}
	r := &rules{schema: view, fields: map[string]*rules{}}
	var err error
	if len(s.XValidations) > 0 {
		if r.programs, err = compilePrograms(env, s, typ); err != nil {
			return nil, err
		}
	}
	for name := range s.Properties {
		property := s.Properties[name]
		escaped, ok := apiservercel.Escape(name)
		if !ok || typ.Fields[escaped] == nil {
			continue
		}
		child, err := compileRules(env, view.property(name), &property, typ.Fields[escaped].Type)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if child != nil {
			r.fields[name] = child
		}
	}
	switch {
	case s.Items != nil:
		r.items, err = compileRules(env, view.items, s.Items, typ.ElemType)
	case s.AdditionalProperties != nil && s.AdditionalProperties.Structural != nil:
		r.items, err = compileRules(env, view.additional, s.AdditionalProperties.Structural, typ.ElemType)
	}
	if err != nil || len(r.programs) == 0 && len(r.fields) == 0 && r.items == nil {
		return nil, err
	}
	return r, nil
}

func compilePrograms(base *celgo.Env, s *structuralschema.Structural, typ *apiservercel.DeclType) ([]program, error) {
	self := typ.MaybeAssignTypeName("selfType")
	provider := apiservercel.NewDeclTypeProvider(self)
	provider.SetRecognizeKeywordAsFieldName(true)
	options, err := provider.EnvOptions(base.CELTypeProvider())
	if err != nil {
		return nil, err
	}
	env, err := base.Extend(append(options, celgo.Variable("self", self.CelType()), celgo.Variable("oldSelf", self.CelType()))...)
	if err != nil {
		return nil, err
	}
	var programs []program
	for _, rule := range s.XValidations {
		ast, issues := env.Compile(rule.Rule)
		if issues.Err() != nil {
			return nil, fmt.Errorf("rule %q: %w", rule.Rule, issues.Err())
		}
		if usesOldSelf(ast) {
			continue
		}
		programs = append(programs, program{newPredicate(ast, s), sync.OnceValue(func() celgo.Program {
			made, err := env.Program(ast, celgo.EvalOptions(celgo.OptOptimize))
			if err != nil {
				return nil
			}
			return made
		})})
	}
	return programs, nil
}

func usesOldSelf(ast *celgo.Ast) bool {
	for _, reference := range ast.NativeRep().ReferenceMap() {
		if reference.Name == "oldSelf" {
			return true
		}
	}
	return false
}

// hold tells whether every rule holds for v and for what is in it. A rule that cannot be
// evaluated does not hold.
func (r *rules) hold(v any) bool {
	if r == nil || v == nil {
		return true
	}
	var self map[string]any // as CEL sees it
	for _, p := range r.programs {
		if p.quick.holds(v) {
			continue
		}
		if self == nil {
			self = map[string]any{"self": common.UnstructuredToVal(v, r.schema)}
		}
		made := p.cel()
		if made == nil {
			return false
		}
		if result, _, err := made.Eval(self); err != nil || result != ref.Val(types.True) {
			return false
		}
	}
	switch v := v.(type) {
	case map[string]any:
		for name, child := range v {
			if f := r.fields[name]; f != nil && !f.hold(child) {
				return false
			}
			if r.items != nil && !r.items.hold(child) {
				return false
			}
		}
	case []any:
		for _, child := range v {
			if !r.items.hold(child) {
				return false
			}
		}
	}
	return true
}

// fastSchema is a schema as CEL sees it, with its parts made once.
type fastSchema struct {
	*model.Structural
	properties        map[string]common.Schema
	items, additional *fastSchema
}

func newFastSchema(s *structuralschema.Structural) *fastSchema {
	f := &fastSchema{Structural: &model.Structural{Structural: s}}
	if s.Properties != nil {
		f.properties = make(map[string]common.Schema, len(s.Properties))
		for name := range s.Properties {
			property := s.Properties[name]
			f.properties[name] = newFastSchema(&property)
		}
	}
	if s.Items != nil {
		f.items = newFastSchema(s.Items)
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Structural != nil {
		f.additional = newFastSchema(s.AdditionalProperties.Structural)
	}
	return f
}

func (f *fastSchema) property(name string) *fastSchema {
	p, _ := f.properties[name].(*fastSchema)
	return p
}

// Properties returns the schemas of an object's fields.
func (f *fastSchema) Properties() map[string]common.Schema { return f.properties }

// Items returns the schema of a list's elements, nil if there is none.
func (f *fastSchema) Items() common.Schema {
	if f.items == nil {
		return nil
	}
	return f.items
}

// AdditionalProperties returns the schema of a map's values, nil if there is none.
func (f *fastSchema) AdditionalProperties() common.SchemaOrBool {
	if f.additional == nil {
		return f.Structural.AdditionalProperties()
	}
	return fastSchemaOrBool{f.additional}
}

type fastSchemaOrBool struct{ schema *fastSchema }

// Schema returns the schema of a map's values.
func (s fastSchemaOrBool) Schema() common.Schema { return s.schema }

// Allows is meaningless beside a schema.
func (s fastSchemaOrBool) Allows() bool { return true }
