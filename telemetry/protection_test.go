package telemetry

import (
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/model"
)

func TestProtectionsCountByMode(t *testing.T) {
	m := NewMetrics(1)
	p := m.Protection("backend/a", ProtectTrip)
	for mode, n := range map[model.Mode]int{model.ModeEnforce: 3, "": 1, model.ModeObserve: 2} {
		for range n {
			p.Count(mode)
		}
	}
	if p.Acted() != 4 || p.WouldHave() != 2 || m.Protection("backend/a", ProtectTrip) != p || m.Protection("backend/a", ProtectQueue) == p || m.Protection("backend/b", ProtectTrip) == p {
		t.Errorf("%d, %d", p.Acted(), p.WouldHave())
	}
	var none *Protection
	if none.Count(model.ModeEnforce); none.Acted() != 0 || none.WouldHave() != 0 {
		t.Error("nothing counts")
	}
	page := httptest.NewRecorder()
	m.Handler().ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
	text, _ := io.ReadAll(page.Body)
	for _, line := range []string{
		`weir_protection_actions_total{mode="enforce",protection="trip",target="backend/a"} 4`,
		`weir_protection_actions_total{mode="observe",protection="trip",target="backend/a"} 2`,
	} {
		if !strings.Contains(string(text), line+"\n") {
			t.Errorf("no %s", line)
		}
	}
}

func TestProtectionsGoWithTheirTargets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMetrics(1)
		is := func(want string) func(string) bool { return func(name string) bool { return name == want } }
		live := Live{Route: is("route"), Cluster: is("cluster"), Stream: is("stream"), Scope: is("scope")}
		for _, target := range []string{"route", "cluster", "stream", "scope", "gone", "back"} {
			m.Protection(target, ProtectQueue).Count(model.ModeEnforce)
		}
		m.Retain(live)
		time.Sleep(ForgetAfter - time.Second)
		back := m.Protection("back", ProtectQueue) // somebody uses it again
		m.Retain(live)
		time.Sleep(2 * time.Second)
		m.Retain(live)
		kept := map[string]uint64{}
		for _, s := range m.Protections() {
			kept[s.Target] = s.Acted
		}
		if len(kept) != 5 || kept["gone"] != 0 || m.Protection("back", ProtectQueue) != back {
			t.Errorf("kept %v", kept)
		}
		m.Retain(Live{}) // all exist
		time.Sleep(2 * ForgetAfter)
		m.Retain(Live{})
		if n := len(m.Protections()); n != 5 {
			t.Errorf("%d kept", n)
		}
	})
}

func TestProtectionsAreBounded(t *testing.T) {
	m := NewMetrics(1)
	for i := range SeriesLimit {
		m.Protection(fmt.Sprint(i), ProtectQueue)
	}
	over := m.Protection("one more", ProtectQueue)
	if over != m.Protection("and another", ProtectQueue) || over != m.Protection(Other, ProtectQueue) {
		t.Error("those beyond the bound do not share one")
	}
	m.Protection("one more", ProtectTrip)
	if n := len(m.Protections()); n != SeriesLimit+2 {
		t.Errorf("%d", n)
	}
	live := func(name string) bool { return len(name) > 1 }
	m.Retain(Live{Route: live, Cluster: live, Stream: live, Scope: live})
	if m.Protection("one more", ProtectQueue) == over { // in place of what is gone
		t.Error("still shared")
	}
}
