package resource

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"reflect"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
)

// crds holds the CRDs of the kinds that are served, written by go generate.
//
//go:embed crds/*.json
var crds embed.FS

// schema is what a kind's objects must be like, compiled when first used: that costs tens
// of milliseconds for the larger kinds.
type schema struct {
	compile func() (*compiled, error)
}

// compiled is a schema ready for use. It is safe for concurrent use. What bounds and rules
// find right is right, and costs little to find so; of what they do not, a cluster's own
// code says whether and why.
type compiled struct {
	shape      *shape
	structural *structuralschema.Structural // nil for core kinds, and so the rest
	filling    *filling
	bounds     *bounds
	validator  validation.SchemaValidator // says why the bounds do not hold
	rules      *rules                     // nil: no CEL rule
	reasons    func() *cel.Validator      // says why a rule does not hold; compiled when one does not
}

// fromCRD returns the schema in an embedded CRD. All versions of our CRDs have the same; a
// test says so.
func fromCRD(file string) *schema {
	return &schema{compile: sync.OnceValues(func() (*compiled, error) {
		c, err := compileCRD(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		return c, nil
	})}
}

// fromGo returns the schema of a core kind: its Go type.
func fromGo[T any]() *schema {
	return &schema{compile: sync.OnceValues(func() (*compiled, error) {
		return &compiled{shape: shapeOfType(reflect.TypeFor[T]())}, nil
	})}
}

func compileCRD(file string) (*compiled, error) {
	data, err := crds.ReadFile("crds/" + file)
	if err != nil {
		return nil, err
	}
	// A whole CustomResourceDefinition would parse every version's schema.
	var crd struct {
		Spec struct {
			Versions []struct {
				Schema struct{ OpenAPIV3Schema json.RawMessage }
			}
		}
	}
	if err := json.Unmarshal(data, &crd); err != nil {
		return nil, err
	}
	var v1 apiextensionsv1.JSONSchemaProps
	if err := json.Unmarshal(crd.Spec.Versions[0].Schema.OpenAPIV3Schema, &v1); err != nil {
		return nil, err
	}
	var props apiextensions.JSONSchemaProps
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(&v1, &props, nil); err != nil {
		return nil, err
	}
	structural, err := structuralschema.NewStructural(&props)
	if err != nil {
		return nil, err
	}
	validator, _, err := validation.NewSchemaValidator(&props)
	if err != nil {
		return nil, err
	}
	fast, err := newRules(structural)
	if err != nil {
		return nil, err
	}
	return &compiled{
		shape:      shapeOfRoot(structural),
		structural: structural,
		filling:    newFilling(structural),
		bounds:     newBounds(structural),
		validator:  validator,
		rules:      fast,
		reasons:    sync.OnceValue(func() *cel.Validator { return cel.NewValidator(structural, true, celconfig.PerCallLimit) }),
	}, nil
}

// validate fills in the schema's defaults and returns everything that a cluster would
// refuse, in its order: schema, list keys, CEL rules. Rules are skipped, as there, where an
// error before them could mislead them.
func (c *compiled) validate(ctx context.Context, object map[string]any) field.ErrorList {
	if c.structural == nil {
		return nil
	}
	c.filling.fill(object)
	delete(object, "status") // that of a new object is nobody's to read
	var errs field.ErrorList
	if !c.bounds.hold(object) {
		errs = validation.ValidateCustomResource(nil, object, c.validator)
	}
	errs = append(errs, c.filling.duplicates(object)...)
	if blocking(errs) || c.rules.hold(object) {
		return errs
	}
	violated, _ := c.reasons().Validate(ctx, nil, c.structural, object, nil, celconfig.RuntimeCELCostBudget)
	return append(errs, violated...)
}

// blocking tells whether CEL rules could stumble over what the errors are about.
func blocking(errs field.ErrorList) bool {
	for _, err := range errs {
		switch err.Type {
		case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong,
			field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
			return true
		}
	}
	return false
}
