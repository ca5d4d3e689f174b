package translate

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/model"
)

func tlsListener(name string, hostname gatewayv1.Hostname) gatewayv1.Listener {
	return gatewayv1.Listener{
		Name: gatewayv1.SectionName(name), Port: 8443, Protocol: gatewayv1.TLSProtocolType, Hostname: &hostname,
		TLS: &gatewayv1.ListenerTLSConfig{Mode: ptr(gatewayv1.TLSModePassthrough)},
	}
}

func shopRef(weight int32) []gatewayv1.BackendRef {
	return []gatewayv1.BackendRef{{
		BackendObjectReference: gatewayv1.BackendObjectReference{Group: ptr(gatewayv1.Group(groupWeir)), Kind: ptr(gatewayv1.Kind(kindBackend)), Name: "shop"},
		Weight:                 &weight,
	}}
}

// streamMeta is of an object that was made so many hours after the others.
func streamMeta(name string, hours int) metav1.ObjectMeta {
	created := metav1.Date(2026, 1, 1, hours, 0, 0, 0, time.UTC)
	return metav1.ObjectMeta{Namespace: "default", Name: name, CreationTimestamp: created}
}

func tlsRoute(name string, hours int, sections []string, hostnames ...gatewayv1.Hostname) *resource.Object {
	route := &gatewayv1.TLSRoute{ObjectMeta: streamMeta(name, hours)}
	for _, s := range sections {
		route.Spec.ParentRefs = append(route.Spec.ParentRefs, gatewayv1.ParentReference{Name: "front", SectionName: ptr(gatewayv1.SectionName(s))})
	}
	route.Spec.Hostnames = hostnames
	route.Spec.Rules = []gatewayv1.TLSRouteRule{{BackendRefs: shopRef(1)}}
	return object(groupGateway, kindTLSRoute, name, route)
}

func tcpRoute(name string, hours int, section string, weight int32) *resource.Object {
	route := &gatewayv1.TCPRoute{ObjectMeta: streamMeta(name, hours)}
	route.Spec.ParentRefs = []gatewayv1.ParentReference{{Name: "front", SectionName: ptr(gatewayv1.SectionName(section))}}
	route.Spec.Rules = []gatewayv1.TCPRouteRule{{BackendRefs: shopRef(weight)}}
	return object(groupGateway, kindTCPRoute, name, route)
}

func shop() *resource.Object {
	return object(groupWeir, kindBackend, "shop", &v1alpha1.Backend{
		ObjectMeta: streamMeta("shop", 0),
		Spec:       v1alpha1.BackendSpec{Endpoints: []v1alpha1.Endpoint{{Address: "10.0.0.1", Port: 80}}},
	})
}

func tcpGateway(ports ...gatewayv1.PortNumber) *resource.Object {
	var listeners []gatewayv1.Listener
	for _, p := range ports {
		listeners = append(listeners, gatewayv1.Listener{Name: gatewayv1.SectionName(fmt.Sprintf("p%d", p)), Port: p, Protocol: gatewayv1.TCPProtocolType})
	}
	return object(groupGateway, kindGateway, "front", gatewayOf("front", listeners...))
}

// closest is the most specific hostname that covers a name; false: none does.
func closest(hostnames []string, name string) (string, bool) {
	fits := slices.DeleteFunc(slices.Clone(hostnames), func(h string) bool { return h != "" && h != name && !covers(h, name) })
	if len(fits) == 0 {
		return "", false
	}
	return slices.MinFunc(fits, compareHostnames), true
}

// TestBindingsOwnNames draws listeners and routes of one port and compares who gets the
// connections for a name with what Gateway API says: the listener with the most specific
// hostname that covers it, there the route with the most specific common hostname, of several
// the oldest.
func TestBindingsOwnNames(t *testing.T) {
	hostnames := []string{"", "*.test", "*.a.test", "a.test", "b.a.test", "*.b.a.test", "c.b.a.test"}
	rapid.Check(t, func(t *rapid.T) {
		listening := rapid.SliceOfNDistinct(rapid.SampledFrom(hostnames), 1, 5, rapid.ID).Draw(t, "listeners")
		var listeners []gatewayv1.Listener
		sections := map[string]string{} // by hostname
		for i, h := range listening {
			sections[h] = fmt.Sprintf("l%d", i)
			listeners = append(listeners, tlsListener(sections[h], gatewayv1.Hostname(h)))
		}
		type drawn struct {
			name      string
			at        []string // hostnames of listeners
			hostnames []string
		}
		var routes []drawn // the oldest first
		objects := []*resource.Object{object(groupGateway, kindGateway, "front", gatewayOf("front", listeners...)), shop()}
		for i := range rapid.IntRange(0, 4).Draw(t, "routes") {
			r := drawn{name: fmt.Sprintf("r%d", 9-i)}
			r.at = rapid.SliceOfNDistinct(rapid.SampledFrom(listening), 1, len(listening), rapid.ID).Draw(t, "at")
			r.hostnames = rapid.SliceOfNDistinct(rapid.SampledFrom(hostnames[1:]), 1, 3, rapid.ID).Draw(t, "hostnames")
			var refs []string
			var own []gatewayv1.Hostname
			for _, h := range r.at {
				refs = append(refs, sections[h])
			}
			for _, h := range r.hostnames {
				own = append(own, gatewayv1.Hostname(h))
			}
			objects = append(objects, tlsRoute(r.name, i, refs, own...))
			routes = append(routes, r)
		}
		socket := translateAll(objects...).Snapshot.Listeners[0]
		if !slices.IsSortedFunc(socket.Streams, func(a, b model.StreamBinding) int { return compareHostnames(a.Hostname, b.Hostname) }) {
			t.Fatalf("not in order: %+v", socket.Streams)
		}
		for _, name := range []string{"x.example", "test", "a.test", "b.a.test", "c.b.a.test", "d.c.b.a.test", "x.test", "x.a.test"} {
			want := "the listener has no such name"
			if owner, ok := closest(listening, name); ok {
				best := ""
				want = sections[owner] + " closes"
				for _, r := range routes {
					if !slices.Contains(r.at, owner) {
						continue
					}
					common, _ := commonHostnames(owner, r.hostnames)
					h, fits := closest(common, name)
					if fits && (strings.HasSuffix(want, "closes") || compareHostnames(h, best) < 0) {
						best, want = h, sections[owner]+" TLSRoute/default/"+r.name+"/0"
					}
				}
			}
			got := "the listener has no such name"
			var bound []string
			for _, b := range socket.Streams {
				bound = append(bound, b.Hostname)
			}
			if h, ok := closest(bound, name); ok {
				b := socket.Streams[slices.Index(bound, h)]
				_, section := TableOwner(b.Listener)
				got = section + " " + cmp.Or(b.Route, "closes")
			}
			if got != want {
				t.Fatalf("%s: %s, want %s\n%+v", name, got, want, socket.Streams)
			}
		}
	})
}

// TestOneStreamRouteChanged: only the changed route is looked at, and only its own sockets and
// streams are other objects then.
func TestOneStreamRouteChanged(t *testing.T) {
	objects := []*resource.Object{tcpGateway(5001, 5002, 5003), shop(), tcpRoute("one", 0, "p5001", 1), tcpRoute("two", 0, "p5002", 1), tcpRoute("three", 0, "p5003", 1)}
	memo := NewMemo()
	before := Translate(Input{Set: resource.NewSet(objects, nil), Memo: memo}).Snapshot
	views := map[string]*routeView{}
	for _, slot := range memo.routeSlots {
		views[slot.name] = slot.view
	}
	objects[3] = tcpRoute("two", 0, "p5002", 0)
	after := Translate(Input{Set: resource.NewSet(objects, nil), Memo: memo}).Snapshot
	for _, slot := range memo.routeSlots {
		if same := slot.view == views[slot.name]; same == (slot.name == "default/two") {
			t.Errorf("%s: translated again: %t", slot.name, !same)
		}
	}
	for i := range before.Listeners {
		if before.Listeners[i] != after.Listeners[i] {
			t.Errorf("socket %s is another object, though it has the same route by name", after.Listeners[i].Name)
		}
	}
	for i := range before.Streams {
		if same := before.Streams[i] == after.Streams[i]; same == (after.Streams[i].Object == "two") {
			t.Errorf("%s: the same object: %t", after.Streams[i].Name, same)
		}
	}
	if before.Version == after.Version {
		t.Error("the version is the same")
	}
}

// TestOlderStreamRouteGoes: the next in rank takes its listener, and nobody says any more that
// it does not.
func TestOlderStreamRouteGoes(t *testing.T) {
	objects := []*resource.Object{tcpGateway(5001), shop(), tcpRoute("old", 0, "p5001", 1), tcpRoute("young", 1, "p5001", 1)}
	memo := NewMemo()
	state := func(objects []*resource.Object) string {
		out := Translate(Input{Set: resource.NewSet(objects, nil), Memo: memo})
		accepted := statusOf[gatewayv1.TCPRouteStatus](t, out, kindTCPRoute, "young").Parents[0].Conditions[0]
		attached := statusOf[gatewayv1.GatewayStatus](t, out, kindGateway, "front").Listeners[0].AttachedRoutes
		return fmt.Sprintf("%s; %s %s %s; %d attached; %d diagnostics", out.Snapshot.Listeners[0].Streams[0].Route,
			accepted.Status, accepted.Reason, accepted.Message, attached, len(out.Diagnostics))
	}
	got := []string{state(objects), state(slices.Delete(slices.Clone(objects), 2, 3)), state(objects)}
	both := "TCPRoute/default/old/0; True Accepted listener default/front/p5001 is taken by TCPRoute default/old, which is older or comes first by name; 2 attached; 1 diagnostics"
	want := []string{both, "TCPRoute/default/young/0; True Accepted ; 1 attached; 0 diagnostics", both}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestDefeatByPort: what a route has lost is told at the parentRef that is for it.
func TestDefeatByPort(t *testing.T) {
	late := tcpRoute("late", 1, "", 1)
	late.Value.(*gatewayv1.TCPRoute).Spec.ParentRefs = []gatewayv1.ParentReference{{Name: "front", Port: ptr(gatewayv1.PortNumber(5001))}, {Name: "front", Port: ptr(gatewayv1.PortNumber(5002))}}
	out := translateAll(tcpGateway(5001, 5002), shop(), tcpRoute("old", 0, "p5001", 1), late)
	var got []string
	for _, p := range statusOf[gatewayv1.TCPRouteStatus](t, out, kindTCPRoute, "late").Parents {
		got = append(got, p.Conditions[0].Message)
	}
	want := []string{"listener default/front/p5001 is taken by TCPRoute default/old, which is older or comes first by name", ""}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestManyDefeats: a route that loses each of its many hostnames at each of many listeners is
// told of some, and of how many more there are.
func TestManyDefeats(t *testing.T) {
	var listeners []gatewayv1.Listener
	var hostnames []gatewayv1.Hostname
	for i := range 64 {
		l := tlsListener(fmt.Sprintf("l%d", i), "")
		l.Port += gatewayv1.PortNumber(i)
		listeners = append(listeners, l)
	}
	for i := range 1024 {
		hostnames = append(hostnames, gatewayv1.Hostname(fmt.Sprintf("h%d.test", i)))
	}
	route := func(name string, hours int) *resource.Object {
		o := tlsRoute(name, hours, nil, hostnames...)
		o.Value.(*gatewayv1.TLSRoute).Spec.ParentRefs = []gatewayv1.ParentReference{{Name: "front"}}
		return o
	}
	out := translateAll(object(groupGateway, kindGateway, "front", gatewayOf("front", listeners...)), shop(), route("old", 0), route("young", 1))
	const lost = 64 * 1024
	message := statusOf[gatewayv1.TLSRouteStatus](t, out, kindTLSRoute, "young").Parents[0].Conditions[0].Message
	if n := strings.Count(message, "is taken by"); n != maxDefeats || !strings.HasSuffix(message, fmt.Sprintf("; and %d more hostnames or listeners", lost-n)) {
		t.Errorf("%d losses in a message of %d characters: ...%s", n, len(message), message[max(0, len(message)-200):])
	}
	if n := len(out.Diagnostics); n != maxDefeats+1 || !strings.Contains(out.Diagnostics[n-1].Message+out.Diagnostics[0].Message, fmt.Sprintf("and %d more", lost-maxDefeats)) {
		t.Errorf("%d diagnostics, the last is %v", n, out.Diagnostics[n-1])
	}
}

// TestPatchBesideStreams: an HTTPRoute is patched in as ever, and the streams stay.
func TestPatchBesideStreams(t *testing.T) {
	objects, memo := manyRoutes(3), NewMemo()
	gateway := objects[0].Value.(*gatewayv1.Gateway).DeepCopy()
	gateway.Spec.Listeners = append(gateway.Spec.Listeners, gatewayv1.Listener{Name: "db", Port: 5432, Protocol: gatewayv1.TCPProtocolType})
	objects[0] = object(groupGateway, kindGateway, "front", gateway)
	objects = append(objects, shop(), tcpRoute("db", 0, "db", 1), tcpRoute("late", 1, "db", 1))
	before := Translate(Input{Set: resource.NewSet(objects, nil), Memo: memo})
	name := objects[1].Key.Name
	objects[1] = object(groupGateway, kindHTTPRoute, name, benchRoute(name, 7))
	after := Translate(Input{Set: resource.NewSet(objects, nil), Memo: memo})
	fresh := Translate(Input{Set: resource.NewSet(objects, nil)})
	if diff := gocmp.Diff(jsonOf(t, fresh), jsonOf(t, after)); diff != "" {
		t.Errorf("memo differs from no memo:\n%s", diff)
	}
	if !slices.Equal(before.Snapshot.Listeners, after.Snapshot.Listeners) || !slices.Equal(before.Snapshot.Streams, after.Snapshot.Streams) || len(after.Snapshot.Streams) != 2 {
		t.Error("sockets or streams are other objects")
	}
}

// TestModeChanges: from ending TLS to passing it through, and back, with one memo.
func TestModeChanges(t *testing.T) {
	certificate, key := selfSigned(t)
	secret := &resource.Object{Key: resource.Key{Kind: kindSecret, Namespace: "default", Name: "cert"}, Hash: "1", Value: newTLSSecret(certificate, key)}
	backend := shop()
	backend.Value.(*v1alpha1.Backend).Spec.TLS = &v1alpha1.BackendTLS{
		Validation: gatewayv1.BackendTLSPolicyValidation{Hostname: "shop.test", WellKnownCACertificates: ptr(gatewayv1.WellKnownCACertificatesSystem)},
	}
	memo := NewMemo()
	for _, mode := range []gatewayv1.TLSModeType{gatewayv1.TLSModeTerminate, gatewayv1.TLSModePassthrough, gatewayv1.TLSModeTerminate} {
		l := tlsListener("tls", "*.test")
		l.TLS.Mode = &mode
		l.TLS.CertificateRefs = []gatewayv1.SecretObjectReference{{Name: "cert"}}
		set := resource.NewSet([]*resource.Object{object(groupGateway, kindGateway, "front", gatewayOf("front", l)), backend, secret, tlsRoute("r", 0, []string{"tls"}, "a.test")}, nil)
		got, want := Translate(Input{Set: set, Memo: memo}), Translate(Input{Set: set})
		if diff := gocmp.Diff(jsonOf(t, want), jsonOf(t, got)); diff != "" {
			t.Errorf("%s: memo differs from no memo:\n%s", mode, diff)
		}
		ends := mode == gatewayv1.TLSModeTerminate
		if s := got.Snapshot.Listeners[0]; (s.TLS != nil) != ends || s.Streams[0].Terminate != ends || s.Streams[0].Route == "" {
			t.Errorf("%s: %+v", mode, s)
		}
		if c := got.Snapshot.Clusters[0]; (c.TLS != nil) != ends {
			t.Errorf("%s: bytes go to %+v", mode, c)
		}
	}
}

// TestWithClosedStreams: TCP and UDP of one port are closed apart.
func TestWithClosedStreams(t *testing.T) {
	gateway := gatewayOf("front",
		gatewayv1.Listener{Name: "tcp", Port: 53, Protocol: gatewayv1.TCPProtocolType},
		gatewayv1.Listener{Name: "udp", Port: 53, Protocol: gatewayv1.UDPProtocolType})
	out := translateAll(object(groupGateway, kindGateway, "front", gateway))
	out.Statuses = out.WithClosed(map[string]error{"[::]:53/udp": errors.New("taken")})
	status := statusOf[gatewayv1.GatewayStatus](t, out, kindGateway, "front")
	for i, want := range []metav1.ConditionStatus{metav1.ConditionTrue, metav1.ConditionFalse} {
		l := status.Listeners[i]
		if got := l.Conditions[0]; got.Type != "Accepted" || got.Status != want {
			t.Errorf("%s: %+v", l.Name, got)
		}
	}
}

func newTLSSecret(certificate, key []byte) *corev1.Secret {
	return &corev1.Secret{Type: corev1.SecretTypeTLS, Data: map[string][]byte{corev1.TLSCertKey: certificate, corev1.TLSPrivateKeyKey: key}}
}
