package translate

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io/fs"
	"maps"
	"math/big"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
)

// conformanceSuite is the folder of upstream's conformance suite. Its module is pinned beside
// what is expected of it; building it would need a cluster's whole client.
func conformanceSuite(t *testing.T) fs.FS {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command("go", "mod", "download", "-json", "sigs.k8s.io/gateway-api/conformance")
	cmd.Dir, cmd.Stdout, cmd.Stderr = "testdata/conformance", &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s%s", err, out.Bytes(), errs.Bytes())
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out.Bytes(), &module); err != nil {
		t.Fatal(err)
	}
	return os.DirFS(module.Dir)
}

// TestConformance translates the manifests of every test that upstream's suite has for our
// kinds, and compares statuses with what the suite expects, as testdata/conformance/want.txt
// has it: a section for each of those manifests. One without a section is there for its
// traffic: its Gateways and ListenerSets are accepted, and its routes are and resolve.
func TestConformance(t *testing.T) {
	suite := conformanceSuite(t)
	text, err := fs.ReadFile(suite, "base/manifests.yaml")
	if err != nil {
		t.Fatal(err)
	}
	base := append(suiteObjects(text, 1), suiteSecrets(t)...)
	wants, err := txtar.ParseFile(filepath.Join("testdata", "conformance", "want.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var manifests []string
	for _, kind := range []string{"backendtlspolicy", "gateway", "gatewayclass", "grpcroute", "httproute", "listenerset", "tcproute", "tlsroute", "udproute"} {
		found, err := fs.Glob(suite, "tests/"+kind+"-*.yaml")
		if err != nil || len(found) == 0 {
			t.Fatalf("no manifests for %s: %v", kind, err)
		}
		manifests = append(manifests, found...)
	}
	names := map[string]bool{}
	for _, file := range manifests {
		name := strings.TrimSuffix(path.Base(file), ".yaml")
		names[name] = true
		t.Run(name, func(t *testing.T) {
			text, err := fs.ReadFile(suite, file)
			if err != nil {
				t.Fatal(err)
			}
			got, own := conformanceFacts(t, base, text)
			want := section(wants, name)
			if want == "" {
				want = accepted(got, own)
			}
			checkFacts(t, got, want)
		})
	}
	for _, f := range wants.Files {
		if !names[f.Name] {
			t.Errorf("the suite has no %s", f.Name)
		}
	}
}

// conformanceFacts are the facts about every object after translation, by subject, and the
// subjects that are written in the manifests themselves.
func conformanceFacts(t *testing.T, base []*resource.Object, text []byte) (facts map[string][]string, own map[string]bool) {
	t.Helper()
	objects, own := suiteObjects(text, 2), map[string]bool{}
	for _, o := range objects {
		own[subject(o.Key)] = true
	}
	set := resource.NewSet(append(objects, base...), nil)
	facts = map[string][]string{}
	for _, s := range Translate(Input{Set: set, ControllerName: suiteController}).Statuses {
		addFacts(facts, subject(s.Key), s.Value, func(c metav1.Condition) {
			if want := generationOf(set.Get(s.Key)); c.ObservedGeneration != want {
				t.Errorf("%v: %s observed generation %d of %d", s.Key, c.Type, c.ObservedGeneration, want)
			}
		})
	}
	return facts, own
}

// suiteObjects decodes manifests as a cluster would keep them: with generations, and with an
// address for each Gateway of 127.0.NET.0/24. What is no kind of ours is left out.
func suiteObjects(manifests []byte, net int) []*resource.Object {
	for from, to := range manifestBlanks {
		manifests = bytes.ReplaceAll(manifests, []byte(from), []byte(to))
	}
	var d resource.Decoder
	objects, _ := d.Decode("in.yaml", manifests)
	for i, o := range objects {
		if m, ok := o.Value.(metav1.Object); ok {
			m.SetGeneration(int64(1 + i))
		}
		if g, ok := o.Value.(*gatewayv1.Gateway); ok && len(g.Spec.Addresses) == 0 {
			g.Spec.Addresses = []gatewayv1.GatewaySpecAddress{{Value: fmt.Sprintf("127.0.%d.%d", net, 1+i)}}
		}
	}
	return objects
}

// suiteController stands in the place that the suite keeps for a controller's name.
const suiteController = "example.com/conformance"

// manifestBlanks are what the suite fills in.
var manifestBlanks = map[string]string{
	"{GATEWAY_CLASS_NAME}":           ClassName,
	"{GATEWAY_CONTROLLER_NAME}":      suiteController,
	"PLACEHOLDER_UNUSABLE_ADDRS":     "192.0.2.1",
	"PLACEHOLDER_USABLE_ADDRS":       "127.0.0.1",
	"PLACEHOLDER_SUPPORTED_PROTOCOL": "HTTP",
}

// suiteSecrets are the Secrets and ConfigMaps that the suite makes when it runs.
func suiteSecrets(t *testing.T) []*resource.Object {
	t.Helper()
	certificate, key := selfSigned(t)
	var secrets []*resource.Object
	for _, name := range [][2]string{
		{conformanceNamespace, "tls-validity-checks-certificate"},
		{conformanceNamespace, "tls-checks-client-certificate"},
		{conformanceNamespace, "tls-terminate-checks-certificate"},
		{"gateway-conformance-web-backend", "certificate"},
	} {
		secrets = append(secrets, &resource.Object{
			Key:   resource.Key{Kind: kindSecret, Namespace: name[0], Name: name[1]},
			Value: &corev1.Secret{Type: corev1.SecretTypeTLS, Data: map[string][]byte{corev1.TLSCertKey: certificate, corev1.TLSPrivateKeyKey: key}},
		})
	}
	for _, name := range [][2]string{
		{conformanceNamespace, "tls-validity-checks-ca-certificate"},
		{conformanceNamespace, "tls-validity-checks-per-port-ca-certificate"},
		{conformanceNamespace, "tls-checks-ca-certificate"},
		{conformanceNamespace, "mismatch-ca-certificate"},
		{"gateway-conformance-web-backend", "web-backend-cm"},
	} {
		secrets = append(secrets, &resource.Object{
			Key:   resource.Key{Kind: kindConfigMap, Namespace: name[0], Name: name[1]},
			Value: &corev1.ConfigMap{Data: map[string]string{authoritiesKey: string(certificate)}},
		})
	}
	return secrets
}

// selfSigned is a certificate and its key in PEM.
func selfSigned(t *testing.T) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
}

const conformanceNamespace = "gateway-conformance-infra"

// subject names an object in want.txt, where the suite's own namespace goes without saying.
func subject(k resource.Key) string {
	if k.Namespace == conformanceNamespace {
		return k.Kind + " " + k.Name
	}
	return k.String()
}

func addFacts(facts map[string][]string, subject string, status any, check func(metav1.Condition)) {
	add := func(subject string, conditions []metav1.Condition, more ...string) {
		for _, c := range conditions {
			check(c)
			more = append(more, fmt.Sprintf("%s=%s %s", c.Type, c.Status, c.Reason))
		}
		facts[subject] = append(facts[subject], more...)
	}
	listener := func(name gatewayv1.SectionName, routes int32, kinds []gatewayv1.RouteGroupKind, conditions []metav1.Condition) {
		facts := []string{fmt.Sprintf("routes=%d", routes)}
		for _, k := range kinds {
			facts = append(facts, "kind="+string(k.Kind))
		}
		if len(kinds) == 0 {
			facts = append(facts, "kinds=")
		}
		add(subject+" listener "+string(name), conditions, facts...)
	}
	switch s := status.(type) {
	case gatewayv1.GatewayClassStatus:
		add(subject, s.Conditions)
	case gatewayv1.GatewayStatus:
		add(subject, s.Conditions, fmt.Sprintf("sets=%d", deref(s.AttachedListenerSets, 0)), fmt.Sprintf("addresses=%d", len(s.Addresses)))
		for _, l := range s.Listeners {
			listener(l.Name, l.AttachedRoutes, l.SupportedKinds, l.Conditions)
		}
	case gatewayv1.ListenerSetStatus:
		add(subject, s.Conditions)
		for _, l := range s.Listeners {
			listener(l.Name, l.AttachedRoutes, l.SupportedKinds, l.Conditions)
		}
	case gatewayv1.PolicyStatus:
		for _, a := range s.Ancestors {
			add(fmt.Sprintf("%s below %s %s", subject, deref(a.AncestorRef.Kind, kindGateway), a.AncestorRef.Name), a.Conditions)
		}
	}
	if s, ok := RouteStatus(status); ok {
		add(subject, nil, fmt.Sprintf("parents=%d", len(s.Parents)))
		for _, p := range s.Parents {
			parent := fmt.Sprintf("%s %s", deref(p.ParentRef.Kind, kindGateway), p.ParentRef.Name)
			if p.ParentRef.SectionName != nil {
				parent += "/" + string(*p.ParentRef.SectionName)
			}
			add(subject+" below "+parent, p.Conditions)
		}
	}
}

// accepted is what is expected of manifests that are there for traffic.
func accepted(got map[string][]string, own map[string]bool) string {
	var lines []string
	for _, subject := range slices.Sorted(maps.Keys(got)) {
		object, _, below := strings.Cut(subject, " below ")
		kind, _, _ := strings.Cut(subject, " ")
		switch {
		case !own[object]:
		case below:
			lines = append(lines, subject+": Accepted=True, ResolvedRefs=True")
		case strings.HasSuffix(kind, "Route"):
		default:
			lines = append(lines, subject+": Accepted=True, Programmed=True")
		}
	}
	return strings.Join(lines, "\n")
}

// checkFacts checks each line of what is wanted: a subject and facts about it, of which a
// condition without a reason may have any. A line with a mark must not hold as a whole.
func checkFacts(t *testing.T, got map[string][]string, want string) {
	t.Helper()
	lines := 0
	for line := range strings.Lines(want) {
		line, unmet := strings.CutPrefix(strings.TrimSpace(line), "! ")
		subject, facts, ok := strings.Cut(line, ": ")
		if !ok {
			t.Fatalf("%q has no facts", line)
		}
		lines++
		var missing []string
		for fact := range strings.SplitSeq(facts, ", ") {
			if !slices.ContainsFunc(got[subject], func(f string) bool { return f == fact || strings.HasPrefix(f, fact+" ") }) {
				missing = append(missing, fact)
			}
		}
		switch {
		case unmet && len(missing) == 0:
			t.Errorf("%s holds now: remove the mark", line)
		case !unmet && len(missing) > 0:
			t.Errorf("%s: want %s, got %v", subject, strings.Join(missing, ", "), got[subject])
		case len(got[subject]) == 0:
			t.Errorf("there is no %s", subject)
		}
	}
	if lines == 0 {
		t.Error("nothing is expected")
	}
}
