package translate

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	corev1 "k8s.io/api/core/v1"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/model"
)

// TestPrivateKeysStayHidden: neither as JSON nor as text does an output hold a byte of a
// private key, however a Secret holds it.
func TestPrivateKeysStayHidden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	keys := 0
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		set := archiveSet(archive)
		out := Translate(Input{Set: set})
		b, err := json.Marshal(out)
		if err != nil {
			t.Fatal(err)
		}
		shown := string(b)
		for _, l := range out.Snapshot.Listeners {
			if l.TLS != nil {
				shown += fmt.Sprintf("%v %+v %#v %+v", *l.TLS, *l.TLS, *l.TLS, l.TLS.Names)
			}
		}
		for _, c := range out.Snapshot.Clusters {
			if c.TLS != nil && c.TLS.Client != nil {
				shown += fmt.Sprintf("%+v %#v", *c.TLS.Client, *c.TLS.Client)
			}
		}
		if strings.Contains(shown, "PRIVATE KEY") {
			t.Errorf("%s: a private key is shown", file)
		}
		for _, secret := range resource.All[*corev1.Secret](set) {
			for _, value := range secret.Data {
				for rest := value; ; {
					var block *pem.Block
					if block, rest = pem.Decode(rest); block == nil {
						break
					}
					if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
						continue
					}
					keys++
					if strings.Contains(shown, base64.StdEncoding.EncodeToString(block.Bytes)) {
						t.Errorf("%s: a private key's bytes are shown", file)
					}
				}
			}
		}
	}
	if keys < 5 {
		t.Errorf("only %d private keys looked for: the test proves nothing", keys)
	}
}

// TestHashKnowsTheKey: a new key for the same name makes another listener, and nothing else
// anew.
func TestHashKnowsTheKey(t *testing.T) {
	const manifest = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec:
  gatewayClassName: weir
  listeners:
  - {name: https, port: 8443, protocol: HTTPS, tls: {certificateRefs: [{name: shop}]}}
  - {name: http, port: 8080, protocol: HTTP}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs: [{name: front}]
  rules: [{backendRefs: [{group: weir.dev, kind: Backend, name: shop}]}]
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: shop}
spec: {endpoints: [{address: 10.0.0.1, port: 80}]}
---
apiVersion: v1
kind: Secret
metadata: {name: shop}
type: kubernetes.io/tls
stringData: {tls.crt: "{{crt NAME}}", tls.key: "{{key NAME}}"}
`
	memo := NewMemo()
	translate := func(name string) *model.Snapshot {
		var decoder resource.Decoder
		objects, diagnostics := decoder.Decode("in.yaml", fillPEM([]byte(strings.ReplaceAll(manifest, "NAME", name))))
		if len(diagnostics) > 0 {
			t.Fatal(diagnostics)
		}
		return Translate(Input{Set: resource.NewSet(objects, nil), Memo: memo}).Snapshot
	}
	before, same, after := translate("a.test"), translate("a.test"), translate("b.test")
	if before.Listeners[1] != same.Listeners[1] {
		t.Error("the same certificate makes another listener")
	}
	if before.Listeners[1].Hash == after.Listeners[1].Hash || before.Version == after.Version {
		t.Error("another certificate makes no difference")
	}
	if before.Listeners[0] != after.Listeners[0] || before.RouteTables[1] != after.RouteTables[1] || before.Clusters[0] != after.Clusters[0] {
		t.Error("another certificate makes more than its listener anew")
	}
	c := before.Listeners[1].TLS.Names[0].Certificates[0]
	other := c
	other.Key = model.PrivateKey(testPEM("key", "b.test"))
	if model.HashOf(c) == model.HashOf(other) {
		t.Error("the key makes no difference to the hash")
	}
	if got, want := c.Fingerprint(), after.Listeners[1].TLS.Names[0].Certificates[0].Fingerprint(); len(got) != 64 || got == want {
		t.Errorf("fingerprints %s and %s", got, want)
	}
}

// TestGatesAskWithTheNewToken: a new token is shown from then on, and makes a gate no other one.
func TestGatesAskWithTheNewToken(t *testing.T) {
	memo := NewMemo()
	gate := func(token string) PlannedGate {
		var decoder resource.Decoder
		objects, diagnostics := decoder.Decode("in.yaml", []byte(`
apiVersion: weir.dev/v1alpha1
kind: Rollout
metadata: {name: r}
spec:
  targetRef: {group: gateway.networking.k8s.io, kind: HTTPRoute, name: r, sectionName: r}
  stable: {group: weir.dev, kind: Backend, name: old}
  canary: {group: weir.dev, kind: Backend, name: new}
  stages: [{share: 100%}]
  gates: [{name: a, webhook: {url: 'https://a.test', secretRef: {name: token}}}]
---
apiVersion: v1
kind: Secret
metadata: {name: token}
stringData: {token: `+token+`}
`))
		if len(diagnostics) > 0 {
			t.Fatal(diagnostics)
		}
		return Translate(Input{Set: resource.NewSet(objects, nil), Memo: memo}).Rollouts[0].Gates[0]
	}
	before, after := gate("old-one"), gate("new-one")
	if b, a := before.Webhook.Access.Authorization(), after.Webhook.Access.Authorization(); b != "Bearer old-one" || a != "Bearer new-one" {
		t.Errorf("shown %q, then %q", b, a)
	}
	if model.HashOf(before) != model.HashOf(after) {
		t.Error("another token makes another gate, whose failures and hash of a secret would be written down")
	}
}

// TestRedact: a secret is not shown in whichever way it is written.
func TestRedact(t *testing.T) {
	token := GateAccess{secrets: []string{"t\"o\\k<é\x01n"}}
	login := GateAccess{secrets: []string{"ann", `p"w`}}
	for _, access := range []GateAccess{token, login} {
		secret := access.secrets[len(access.secrets)-1]
		data, err := json.Marshal(secret)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{secret, strconv.Quote(secret), string(data), access.Authorization()} {
			got := access.Redact("it said: " + text)
			if strings.Contains(got, text[1:len(text)-1]) || !strings.Contains(got, model.Redacted) {
				t.Errorf("%q stays %q", text, got)
			}
		}
	}
	if got := login.Redact("ann is here"); got != "ann is here" {
		t.Errorf("a name is no secret: %q", got)
	}
}

// TestRetainedSecret: a Secret whose newest version is wrong leaves its listener as it is, and
// the listener's status says which version is served.
func TestRetainedSecret(t *testing.T) {
	const manifest = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec:
  gatewayClassName: weir
  listeners: [{name: https, port: 8443, protocol: HTTPS, tls: {certificateRefs: [{name: shop}]}}]
---
apiVersion: v1
kind: Secret
metadata: {name: shop}
type: kubernetes.io/tls
stringData: {tls.crt: "{{crt a.test}}", tls.key: "{{key NAME}}"}
`
	decode := func(name string) []*resource.Object {
		var decoder resource.Decoder
		objects, _ := decoder.Decode("in.yaml", fillPEM([]byte(strings.ReplaceAll(manifest, "NAME", name))))
		return objects
	}
	memo := NewMemo()
	objects := decode("a.test")
	before := Translate(Input{Set: resource.NewSet(objects, nil), Memo: memo})
	for i, wrong := range decode("b.test") {
		if wrong.Value == nil { // as a source keeps it
			objects[i] = objects[i].WithProblems(wrong.Problems)
		}
	}
	after := Translate(Input{Set: resource.NewSet(objects, nil), Memo: memo})
	if before.Snapshot.Listeners[0] != after.Snapshot.Listeners[0] {
		t.Error("a wrong Secret changes its listener")
	}
	got := text(t, readableStatus(plain(t, after.Statuses[0].Value)))
	want := "the last accepted version stays in force: stringData.tls.key: is not the key of the first certificate in tls.crt"
	if !strings.Contains(strings.Join(strings.Fields(got), " "), want) || !strings.Contains(got, "ResolvedRefs=True") {
		t.Errorf("status:\n%s\nwant %s", got, want)
	}
}
