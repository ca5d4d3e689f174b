package translate

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// unreached are upstream's condition types and reasons that no status of this version has,
// and why. Those that upstream calls deprecated, and reserves, are left out.
var unreached = map[string]string{
	"GatewayClassReasonPending":            decidedAtOnce,
	"GatewayClassReasonUnsupported":        "Weir has one controller, which supports all of its classes",
	"GatewayClassReasonUnsupportedVersion": "the schemas are built in, and so of the right version",

	"GatewayReasonPending":            decidedAtOnce,
	"GatewayReasonNoResources":        "nothing is provisioned",
	"GatewayReasonAddressNotAssigned": "addresses are bound, not assigned",

	"ListenerReasonPending":                 decidedAtOnce,
	"ListenerReasonOverlappingCertificates": "whose certificates they are decides nothing here: hostnames do, and 421 guards them",

	"ListenerSetReasonPending":            decidedAtOnce,
	"ListenerEntryReasonPending":          decidedAtOnce,
	"ListenerEntryReasonTooManyListeners": "there is no limit to the listeners of a Gateway",

	"RouteReasonPending": decidedAtOnce,
}

const (
	decidedAtOnce = "translation decides at once, before there is any status"
)

// TestConditions checks that each condition type and reason that upstream has for our kinds
// occurs in the status of something in testdata, or that there is a reason why it does not.
func TestConditions(t *testing.T) {
	seen := map[string]bool{} // "Gateway Accepted": a type or reason of a Gateway
	note := func(of string, conditions []metav1.Condition) {
		for _, c := range conditions {
			seen[of+" "+c.Type], seen[of+" "+c.Reason] = true, true
		}
	}
	_, sets := universe(t)
	var statuses []Status
	for _, set := range sets {
		statuses = append(statuses, Translate(Input{Set: set}).Statuses...)
	}
	statuses = append(statuses, beyondSchema()...)
	for _, s := range statuses {
		switch v := s.Value.(type) {
		case gatewayv1.GatewayClassStatus:
			note("GatewayClass", v.Conditions)
		case gatewayv1.GatewayStatus:
			note("Gateway", v.Conditions)
			for _, l := range v.Listeners {
				note("Listener", l.Conditions)
			}
		case gatewayv1.ListenerSetStatus:
			note("ListenerSet", v.Conditions)
			for _, l := range v.Listeners {
				note("ListenerEntry", l.Conditions)
			}
		case gatewayv1.HTTPRouteStatus:
			for _, p := range v.Parents {
				note("Route", p.Conditions)
			}
		}
	}
	constants := upstreamConditions(t)
	for name, c := range constants {
		if reached := seen[c]; reached == (unreached[name] != "") {
			t.Errorf("%s: reached %t, reason not to be: %q", name, reached, unreached[name])
		}
	}
	for name := range unreached {
		if constants[name] == "" {
			t.Errorf("upstream has no %s", name)
		}
	}
}

// beyondSchema are statuses of what no schema lets pass, but another source might.
func beyondSchema() []Status {
	unusable := gatewayOf("unusable", httpListener("a", ""))
	unusable.Spec.Addresses = []gatewayv1.GatewaySpecAddress{{Value: "300.0.0.1"}}
	same := gatewayOf("front", httpListener("a", "x.test"), httpListener("b", "x.test"))
	route := benchRoute("site", 1)
	route.Spec.Hostnames = nil
	route.Spec.Rules[0].Filters = []gatewayv1.HTTPRouteFilter{
		{Type: gatewayv1.HTTPRouteFilterRequestRedirect, RequestRedirect: &gatewayv1.HTTPRequestRedirectFilter{}},
		{Type: gatewayv1.HTTPRouteFilterURLRewrite, URLRewrite: &gatewayv1.HTTPURLRewriteFilter{}},
	}
	return translateAll(
		object(groupGateway, kindGateway, "unusable", unusable), object(groupGateway, kindGateway, "front", same),
		object(groupGateway, kindHTTPRoute, "site", route),
	).Statuses
}

// upstreamConditions reads upstream's constants for our kinds: to each its kind and value.
func upstreamConditions(t *testing.T) map[string]string {
	t.Helper()
	out, err := exec.Command("go", "list", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api/apis/v1").Output()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(string(bytes.TrimSpace(out)), "*_types.go"))
	if err != nil {
		t.Fatal(err)
	}
	constants := map[string]string{}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			if d, ok := decl.(*ast.GenDecl); ok && d.Tok == token.CONST {
				for _, spec := range d.Specs {
					addConstant(t, constants, spec.(*ast.ValueSpec))
				}
			}
		}
	}
	if len(constants) < 80 {
		t.Fatalf("only %d constants found: upstream words them otherwise now", len(constants))
	}
	return constants
}

func addConstant(t *testing.T, constants map[string]string, spec *ast.ValueSpec) {
	t.Helper()
	kind, ok := spec.Type.(*ast.Ident)
	if !ok || strings.Contains(spec.Doc.Text(), "Deprecated:") {
		return
	}
	for _, of := range []string{"GatewayClass", "Gateway", "Listener", "ListenerSet", "ListenerEntry", "Route"} {
		if kind.Name == of+"ConditionType" || kind.Name == of+"ConditionReason" {
			value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			constants[spec.Names[0].Name] = of + " " + value
		}
	}
}
