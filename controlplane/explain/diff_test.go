package explain

import (
	"fmt"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
)

// TestDiff compares the manifests below before/ of each archive with those below after/.
func TestDiff(t *testing.T) {
	archives(t, "testdata/diff-*.txtar", func(t *testing.T, archive *txtar.Archive) map[string]string {
		rates := Rates{}
		for _, f := range archive.Files {
			if f.Name == "rates" {
				if err := yaml.Unmarshal(f.Data, &rates); err != nil {
					t.Fatal(err)
				}
			}
		}
		side := func(folder string) Side {
			set := setOf(t, archive, folder)
			out := translate.Translate(translate.Input{Set: set})
			return Side{Snapshot: out.Snapshot, Set: set, Rollouts: out.Rollouts, Objectives: out.Objectives}
		}
		b, err := yaml.Marshal(Diff(side("before/"), side("after/"), rates))
		if err != nil {
			t.Fatal(err)
		}
		if same := Diff(side("after/"), side("after/"), nil); len(same.Changes) != 0 {
			t.Errorf("the same is different: %+v", same)
		}
		return map[string]string{"want/1": string(b)}
	})
}

// TestExamples: an example of a class is a request of the class, whatever its match.
func TestExamples(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRoute(t)
		r.route.Name = "r"
		s := &model.Snapshot{
			Listeners:   []*model.Listener{{Name: "0.0.0.0:80", Address: anywhere, Tables: []model.TableBinding{{Table: "t"}}}},
			RouteTables: []*model.RouteTable{{Name: "t", Entries: []model.Entry{{Hostnames: r.hostnames, Route: r.route}}}},
		}
		e := New(s)
		classes(s, func(_ classKey, c Class) {
			p, ok := c.example()
			if !ok {
				t.Fatalf("no example of %s", c)
			}
			if f := e.find(p); f.route == nil {
				t.Fatalf("%s: %+v is no example: %s", c, p, f.reason)
			}
		})
	})
}

func TestExampleOf(t *testing.T) {
	for pattern, want := range map[string]string{
		"/a.*": "/a", "/[0-9]+": "/0", "/(x|y)/z?": "/x/", "/a{3}": "/aaa", `/\d{2,}-\w`: "/00-a", "^/a$": "/a", "(?i)/AB": "/AB", "/[^a]": "/0",
	} {
		if got, ok := exampleOf(pattern); !ok || got != want {
			t.Errorf("%s: %q, %v; want %q", pattern, got, ok, want)
		}
	}
	for _, pattern := range []string{"(", `a\b\Bb`} {
		if got, ok := exampleOf(pattern); ok {
			t.Errorf("%s: %q", pattern, got)
		}
	}
}

// TestDiffMany: one policy that changes ten thousand routes is one change.
func TestDiffMany(t *testing.T) {
	before, after := manyRoutes(10_000, false), manyRoutes(10_000, false)
	policy := model.Origin{File: "policy.yaml", Line: 3}
	for i := range after.RouteTables[0].Entries {
		r := after.RouteTables[0].Entries[i].Route
		r.Timeouts.Request, r.Origins = 5e9, model.Origins{"timeouts.request": policy}
		for _, s := range []*model.Snapshot{before, after} {
			s.RouteTables[0].Entries[i].Route.Split = model.Split{Arms: []model.Arm{{Name: fmt.Sprint("Backend/n/b", i), Weight: 1}}}
		}
	}
	d := Diff(Side{Snapshot: before}, Side{Snapshot: after}, nil)
	if len(d.Changes) != 1 || d.Changed != 10_000 || d.Changes[0].More != 10_000-maxClasses || d.Changes[0].Causes[0] != policy {
		t.Errorf("%d changes, %d classes: %+v", len(d.Changes), d.Changed, d.Changes)
	}
}

// TestSecretsStayHidden: a header's value that may be a secret makes a difference and is not
// shown.
func TestSecretsStayHidden(t *testing.T) {
	with := func(value string) Side {
		s := manyRoutes(1, false)
		r := s.RouteTables[0].Entries[0].Route
		r.Split.Arms = []model.Arm{{Name: "Backend/n/b", Weight: 1}}
		r.RequestHeaders = &model.HeaderEdit{Set: []model.Header{{Name: "authorization", Value: value}}}
		return Side{Snapshot: s}
	}
	d := Diff(with("hush"), with("quiet"), nil)
	if len(d.Changes) != 1 || len(d.Changes[0].Fields) != 1 {
		t.Fatalf("%+v", d)
	}
	if text := fmt.Sprintf("%+v", d); strings.Contains(text, "hush") || strings.Contains(text, "quiet") {
		t.Error(text)
	}
}

// TestHosts: a change of endpoints says how many there are, unless all of them change.
func TestHosts(t *testing.T) {
	for _, c := range []struct{ was, is, want string }{
		{"a b", "b a", ""},
		{"a b", "a b c", "2 -> 3, with c"},
		{"a b c", "a", "3, with b, c -> 1"},
		{"a b", "a c", "2, with b -> 2, with c"},
		{"a", "b", "a -> b"},
		{"a", "", "a -> 0"},
	} {
		got := ""
		if f := compareHosts(strings.Fields(c.was), strings.Fields(c.is)); f != nil {
			got = f.Before + " -> " + f.After
		}
		if got != c.want {
			t.Errorf("%q to %q: %q, want %q", c.was, c.is, got, c.want)
		}
	}
}

// TestDiffCertificates: another certificate is a change of its listener, and so is what
// clients must prove; of keys nothing is shown.
func TestDiffCertificates(t *testing.T) {
	with := func(chain, key string, client *model.ClientValidation) Side {
		return Side{Snapshot: &model.Snapshot{Listeners: []*model.Listener{{
			Name: "[::]:8443", TLS: &model.TLS{Names: []model.TLSName{{
				Hostname: "a.test", Client: client,
				Certificates: []model.Certificate{{Name: "secret/n/a", Chain: "-----BEGIN CERTIFICATE-----\n" + chain + "\n-----END CERTIFICATE-----\n", Key: model.PrivateKey(key)}},
			}}},
		}}}}
	}
	if d := Diff(with("MQ==", "hush", nil), with("MQ==", "hush", nil), nil); len(d.Changes) > 0 {
		t.Errorf("nothing has changed: %+v", d.Changes)
	}
	d := Diff(with("MQ==", "hush", nil), with("Mg==", "hushhush", &model.ClientValidation{Insecure: true}), nil)
	got := fmt.Sprintf("%+v", d.Changes)
	if len(d.Changes) != 1 || len(d.Changes[0].Fields) != 2 || strings.Contains(got, "hush") || !strings.Contains(got, "certificate[a.test]") || !strings.Contains(got, "clientCertificate[a.test]") {
		t.Errorf("%s", got)
	}
}
