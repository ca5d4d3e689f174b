package resource

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"weir.dev/weir/controlplane/resource/v1alpha1"
)

// addObject decodes one object and judges it.
func (r *decoded) addObject(node *yaml.Node, known map[contentHash]any) {
	c := converter{fields: make(places, 0, usualFields)}
	object := c.object(node)
	doc := &document{Object: Object{root: placeOf(node), fields: c.fields}, problems: c.problems}
	if c.refused {
		r.loose = append(r.loose, c.problems...)
		return
	}
	k, loose := r.only, (*problem)(nil)
	if k != nil {
		k, loose = classifyAs(k, object, doc)
	} else {
		k, loose = classify(object, doc)
	}
	if k == nil {
		if loose != nil {
			r.loose = append(r.loose, *loose)
		}
		return
	}
	if k.group == "" && k.name == "Secret" {
		defer doc.hideValues()
	}
	doc.Key = keyOf(k, object)
	if doc.Key.Name == "" {
		message := fmt.Sprintf("required: this %s has no name", k.name)
		if n := nodeAt(node, "metadata.name"); n != nil && n.Kind == yaml.ScalarNode && n.Value != "" {
			message = fmt.Sprintf("expected a string; quote it: %q", n.Value)
		}
		r.loose = append(append(r.loose, doc.problems...), problem{
			rule: RuleSchema, at: doc.fields.find(doc.root, "metadata.name"), field: "metadata.name", message: message,
		})
		return
	}
	if long := doc.tooLong(); long != "" {
		r.loose = append(r.loose, problem{
			rule: RuleSchema, at: doc.fields.find(doc.root, long), field: long, message: fmt.Sprintf("longer than %d characters", maxName),
		})
		return
	}
	r.documents = append(r.documents, doc)
	delete(object, "status") // as a cluster does: it is not the author's to write
	doc.content = hashOf(object)
	if v := known[doc.content]; v != nil && len(doc.problems) == 0 {
		doc.Value = v
		return
	}
	j := judgement{kind: k, doc: doc, node: node, seen: map[string]bool{}, said: map[problem]bool{}}
	for _, p := range doc.problems {
		j.said[p] = true
	}
	value := j.judge(object)
	if len(doc.problems) == 0 {
		doc.Value = value
	} else if k.protects {
		doc.Targets = readTargets(object)
	}
	slices.SortStableFunc(doc.problems, func(a, b problem) int {
		return strings.Compare(a.field, b.field)
	})
	doc.clip()
}

// maxProblems is how many problems are told of one object.
const maxProblems = 100

// clip leaves the first problems, and says how many there are more.
func (doc *document) clip() {
	if more := len(doc.problems) - maxProblems; more > 0 {
		doc.problems = append(doc.problems[:maxProblems:maxProblems], problem{
			rule: RuleSchema, at: doc.root, message: fmt.Sprintf("%d more problems of this object are not listed", more),
		})
	}
}

// maxName is how long names and namespaces are at most: they are part of everything that is
// said of an object.
const maxName = 253

// tooLong returns the field of the key that is too long, empty if none is.
func (doc *document) tooLong() string {
	switch {
	case len(doc.Key.Name) > maxName:
		return "metadata.name"
	case len(doc.Key.Namespace) > maxName:
		return "metadata.namespace"
	}
	return ""
}

const notBase64 = "expected base64"

// hideValues takes what a Secret holds out of what is said about it.
func (doc *document) hideValues() {
	if doc.discreet {
		return
	}
	for i := range doc.problems {
		p := &doc.problems[i]
		if (strings.HasPrefix(p.field, "data") || strings.HasPrefix(p.field, "stringData")) && p.message != notBase64 {
			p.message = "expected a string; quote it (the value is not shown)"
		}
	}
}

// classify returns the kind of an object, or nil and what there is to say of it.
func classify(object map[string]any, doc *document) (*kind, *problem) {
	version, _ := object["apiVersion"].(string)
	name, _ := object["kind"].(string)
	say := func(severity Severity, rule, path, format string, args ...any) (*kind, *problem) {
		return nil, &problem{
			severity: severity, rule: rule, at: doc.fields.find(doc.root, path), field: path, message: fmt.Sprintf(format, args...),
		}
	}
	if version == "" {
		return say(Error, RuleSchema, "apiVersion", "required: a string such as gateway.networking.k8s.io/v1")
	}
	if name == "" {
		return say(Error, RuleSchema, "kind", "required: a string such as HTTPRoute")
	}
	group, v, grouped := strings.Cut(version, "/")
	if !grouped {
		group, v = "", version
	}
	k := kindOf(group, name)
	switch {
	case k != nil && slices.Contains(k.versions, v):
		return k, nil
	case k != nil: // refused alone, under its key: what it protects must know of it
		_, p := say(Error, RuleSchema, "apiVersion", "unknown version %q of %s; expected %q", version, name, apiVersion(group, k.versions[0]))
		doc.problems = append(doc.problems, *p)
		return k, nil
	case group == v1alpha1.Group && slices.Contains(skipped, name):
		return nil, nil
	case slices.Contains(planned[group], name):
		return say(Warning, RuleUnsupported, "kind", "%s is not supported by this version; it has no effect", name)
	case planned[group] != nil:
		return say(Error, RuleSchema, "kind", "unknown kind %q of %s%s", name, group, meantKind(group, name))
	default:
		return say(Warning, RuleUnsupported, "kind", "%s of %s is not for Weir: it is ignored", name, version)
	}
}

// meantKind suggests a kind of the group.
func meantKind(group, name string) string {
	names := slices.Clone(planned[group])
	if group == v1alpha1.Group {
		names = append(names, skipped...)
	}
	for _, k := range kinds {
		if k.group == group {
			names = append(names, k.name)
		}
	}
	if guess := Closest(name, names); guess != "" {
		return fmt.Sprintf("; did you mean %q?", guess)
	}
	return ""
}

// keyOf returns an object's key. In files no namespace means default.
func keyOf(k *kind, object map[string]any) Key {
	meta, _ := object["metadata"].(map[string]any)
	name, _ := meta["name"].(string)
	key := Key{Group: k.group, Kind: k.name, Name: name}
	if k.namespaced {
		key.Namespace, _ = meta["namespace"].(string)
		if key.Namespace == "" {
			key.Namespace = metav1.NamespaceDefault
		}
	}
	return key
}

// judgement collects the problems of one object.
type judgement struct {
	kind *kind
	doc  *document
	node *yaml.Node
	seen map[string]bool // paths that have a problem of form
	said map[problem]bool
}

// judge validates an object and returns it as its Go type; what that is worth, the
// document's problems say.
func (j *judgement) judge(object map[string]any) metav1.Object {
	c, err := j.kind.schema.compile()
	if err != nil {
		j.report("", err.Error())
		return nil
	}
	j.judgeForm(object, c.shape)
	for _, e := range c.validate(context.Background(), object) {
		j.reportField(e)
	}
	value := j.kind.empty()
	if len(j.doc.problems) > 0 { // what can be said about the metadata all the same
		var meta metav1.ObjectMeta
		if m, ok := object["metadata"].(map[string]any); ok && runtime.DefaultUnstructuredConverter.FromUnstructured(m, &meta) == nil {
			j.judgeMeta(&meta)
		}
		return nil
	}
	if j.kind.precheck != nil {
		j.kind.precheck(object, j.report)
	}
	if len(j.doc.problems) > 0 {
		return nil
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object, value); err != nil {
		j.report("", err.Error())
		return nil
	}
	value.SetManagedFields(nil)
	j.judgeMeta(value)
	if j.kind.complete != nil {
		j.doc.discreet = true // there was nothing to say before, but of metadata
		j.kind.complete(value, j.report)
	}
	return value
}

// judgeForm reports unknown fields and values of the wrong form: as many as are told, for each
// is looked up in the text.
func (j *judgement) judgeForm(object map[string]any, sh *shape) {
	type wrong struct{ path, message string }
	var all []wrong
	strictly(object, sh, "", func(path, message string) {
		j.seen[path] = true
		all = append(all, wrong{path, message})
	})
	slices.SortStableFunc(all, func(a, b wrong) int { return strings.Compare(a.path, b.path) })
	for i, w := range all {
		if i < maxProblems {
			w.message = j.refine(w.path, w.message)
		}
		j.report(w.path, w.message)
	}
}

// judgeMeta checks names, namespace, labels and annotations.
func (j *judgement) judgeMeta(meta metav1.Object) {
	if j.kind.namespaced {
		meta.SetNamespace(j.doc.Key.Namespace) // it may be the default
	}
	for _, e := range apivalidation.ValidateObjectMetaAccessor(meta, j.kind.namespaced, j.kind.validName, field.NewPath("metadata")) {
		j.reportField(e)
	}
}

func (j *judgement) report(path, message string) {
	path = canonicalPath(path)
	p := problem{rule: RuleSchema, at: j.doc.fields.find(j.doc.root, path), field: path, message: message}
	if !j.said[p] {
		j.said[p] = true
		j.doc.problems = append(j.doc.problems, p)
	}
}

// reportField reports an error of the API machinery in our words.
func (j *judgement) reportField(e *field.Error) {
	path := canonicalPath(e.Field)
	if path == "<nil>" {
		path = ""
	}
	if j.misplaced(e) {
		return
	}
	if j.seen[path] && (e.Type == field.ErrorTypeTypeInvalid || e.Type == field.ErrorTypeInvalid || e.Type == field.ErrorTypeNotSupported) {
		return // its form is wrong, which has been said
	}
	detail := strings.TrimPrefix(e.Detail, e.Field+" in body ")
	switch e.Type {
	case field.ErrorTypeRequired:
		detail = strings.TrimSuffix("required: "+detail, ": ")
	case field.ErrorTypeNotSupported:
		detail = fmt.Sprintf("unsupported value %s; %s", quote(e.BadValue), e.Detail)
	case field.ErrorTypeDuplicate:
		detail = "duplicate value"
	case field.ErrorTypeInvalid:
		detail = expectation(detail)
		if s, ok := e.BadValue.(string); ok && len(s) <= 64 {
			detail = strconv.Quote(s) + ": " + detail
		}
	}
	j.report(path, detail)
}

// How the schema's validator speaks of a number that does not fit its format, and of a value
// that none of several schemas fits: with the path in the message, and in no field.
var (
	checkedValue = regexp.MustCompile(`^Checked value must be of type (integer with format \w+) in (\S+)$`)
	noSchemaFits = regexp.MustCompile(`^"([^"]+)" (must validate .*)$`)
)

// misplaced reports an error that has its path in its message, unless the form of the value
// there is wrong, which has been said. It returns false for any other error.
func (j *judgement) misplaced(e *field.Error) bool {
	var path, message string
	if m := checkedValue.FindStringSubmatch(e.Detail); m != nil {
		path, message = canonicalPath(m[2]), "expected an "+m[1]
	} else if m := noSchemaFits.FindStringSubmatch(e.Detail); m != nil {
		path, message = canonicalPath(m[1]), m[2]
	} else {
		return false
	}
	if !j.seen[path] {
		j.report(path, message)
	}
	return true
}

// portless is what the rule of Gateway API says of a Service without a port: of a Backend, too, whose kind is forgotten.
const portless = "Must have port for Service reference"

// expectation words that a string does not match a pattern, or a reference its rule, if it is known what that asks for.
func expectation(detail string) string {
	if detail == portless {
		return "must have a port, as it refers to a Service; for a Backend add group: weir.dev, kind: Backend"
	}
	for pattern, text := range patternTexts {
		if strings.HasPrefix(detail, "should match '"+pattern) {
			return "expected " + text
		}
	}
	return detail
}

func quote(v any) string {
	if s, ok := v.(string); ok {
		return strconv.Quote(s)
	}
	return fmt.Sprint(v)
}

// refine adds to a problem of form what only the text or the design can tell.
func (j *judgement) refine(path, message string) string {
	if isPlanned(j.kind, path) {
		return "not supported by this version yet" + plannedWith[path[strings.LastIndexByte(path, '.')+1:]]
	}
	if n := nodeAt(j.node, path); n != nil && isYAML11Bool(n) && strings.HasPrefix(message, "expected a string, got the boolean") {
		return fmt.Sprintf("expected a string, got %s, which YAML takes for a boolean; quote it: %q", n.Value, n.Value)
	}
	return message
}
