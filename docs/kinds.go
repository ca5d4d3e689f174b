package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// crd is what a page needs of a CustomResourceDefinition.
type crd struct {
	Spec struct {
		Group string `json:"group"`
		Scope string `json:"scope"`
		Names struct {
			Kind string `json:"kind"`
		} `json:"names"`
		Versions []struct {
			Name   string `json:"name"`
			Schema struct {
				OpenAPI schema `json:"openAPIV3Schema"`
			} `json:"schema"`
		} `json:"versions"`
	} `json:"spec"`
}

// schema is what a page needs of an OpenAPI schema.
type schema struct {
	Type        string            `json:"type"`
	Format      string            `json:"format"`
	Description string            `json:"description"`
	Properties  map[string]schema `json:"properties"`
	Items       *schema           `json:"items"`
	Values      *schema           `json:"additionalProperties"`
	Required    []string          `json:"required"`
	Enum        []any             `json:"enum"`
	Minimum     *float64          `json:"minimum"`
	Maximum     *float64          `json:"maximum"`
	MaxItems    *int              `json:"maxItems"`
	MaxLength   *int              `json:"maxLength"`
	Pattern     string            `json:"pattern"`
	AnyInt      bool              `json:"x-kubernetes-int-or-string"`
	Rules       []struct {
		Message string `json:"message"`
	} `json:"x-kubernetes-validations"`
}

// kindPages makes a page for each kind of ours, and one that lists all kinds.
func kindPages(folder string) ([]page, error) {
	names, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no schemas in %s: run `make generate`", folder)
	}
	var pages []page
	var index strings.Builder
	index.WriteString("# Kinds\n\nBeside the core kinds Service, Secret and Namespace, and EndpointSlice.\n\n")
	row := rows(&index, "kind", "group", "versions", "scope", "reference")
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		var c crd
		if err := yaml.Unmarshal(data, &c); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		var versions []string
		for _, v := range c.Spec.Versions {
			versions = append(versions, v.Name)
		}
		where := "Gateway API's own documentation"
		if c.Spec.Group == "weir.dev" {
			p := page{strings.ToLower(c.Spec.Names.Kind) + ".md", kindPage(&c)}
			pages = append(pages, p)
			where = fmt.Sprintf("[%s](%s)", p.name, p.name)
		}
		row(c.Spec.Names.Kind, c.Spec.Group, strings.Join(versions, ", "), c.Spec.Scope, where)
	}
	return append(pages, page{"kinds.md", index.String()}), nil
}

func kindPage(c *crd) string {
	var b strings.Builder
	v := c.Spec.Versions[0]
	fmt.Fprintf(&b, "# %s\n\n`apiVersion: %s/%s`\n\n%s\n\n", c.Spec.Names.Kind, c.Spec.Group, v.Name, v.Schema.OpenAPI.Description)
	row := rows(&b, "field", "type", "meaning")
	spec := v.Schema.OpenAPI.Properties["spec"]
	fields(row, "spec", &spec)
	return b.String()
}

// fields lists an object's fields, and theirs below them.
func fields(row func(...string), path string, s *schema) {
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		f := s.Properties[name]
		at := path + "." + name
		kind := f.kind()
		if slices.Contains(s.Required, name) {
			kind += ", required"
		}
		row("`"+at+"`", kind, f.meaning())
		switch {
		case at == "spec.overrides": // the fields of spec once more
		case f.Items != nil:
			fields(row, at+"[]", f.Items)
		case f.Values != nil:
			fields(row, at+".*", f.Values)
		default:
			fields(row, at, &f)
		}
	}
}

func (s *schema) kind() string {
	switch {
	case s.AnyInt:
		return "integer or string"
	case s.Items != nil:
		text := "list of " + s.Items.kind()
		if s.MaxItems != nil {
			text += fmt.Sprintf(", at most %d", *s.MaxItems)
		}
		return text
	case s.Values != nil:
		return "map of " + s.Values.kind()
	case len(s.Enum) > 0:
		var values []string
		for _, e := range s.Enum {
			values = append(values, fmt.Sprintf("`%v`", e))
		}
		return strings.Join(values, ", ")
	}
	text := s.Type
	if s.Minimum != nil && s.Maximum != nil {
		text += fmt.Sprintf(", %.0f to %.0f", *s.Minimum, *s.Maximum)
	}
	if s.MaxLength != nil {
		text += fmt.Sprintf(", at most %d characters", *s.MaxLength)
	}
	return text
}

func (s *schema) meaning() string {
	parts := []string{strings.TrimSpace(s.Description)}
	for _, r := range s.Rules {
		if r.Message != "" {
			parts = append(parts, "Rule: "+r.Message+".")
		}
	}
	return strings.Join(parts, " ")
}
