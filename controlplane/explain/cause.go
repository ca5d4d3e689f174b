package explain

import (
	"reflect"
	"slices"
	"strings"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
)

// causes says what made requests go elsewhere: a route that came or went, a rule that was
// changed, the backends that went with it, or else the owner of the listener.
func (d *differ) causes(was, is outcome) []model.Origin {
	var list []model.Origin
	come := is.route != nil && !d.before.routes[is.name()]
	gone := was.route != nil && !d.after.routes[was.name()]
	if is.route != nil && (come || !gone) && !d.unchanged(routeKey(is.route)) {
		list = append(list, is.route.Origin)
	}
	if was.route != nil && was.name() != is.name() && (gone || !come) && !d.unchanged(routeKey(was.route)) {
		list = append(list, was.route.Origin)
	}
	if is.route != nil {
		for i := range is.route.Split.Arms {
			if arm := &is.route.Split.Arms[i]; arm.Refusal != nil && !d.unchanged(armKey(arm.Name)) {
				list = append(list, d.before.origin(armKey(arm.Name)))
			}
		}
	}
	if len(list) == 0 && was.name() != is.name() {
		for _, table := range []string{is.table, was.table} {
			if owner, _ := translate.TableOwner(table); table != "" && !d.unchanged(owner) {
				list = append(list, d.after.origin(owner), d.before.origin(owner))
			}
		}
	}
	if len(list) == 0 && was.name() != is.name() {
		list = append(d.rivals(d.after, was), d.rivals(d.before, is)...)
	}
	return list
}

// rivals are routes on one side that kept the route of the other side's outcome away: of two
// kinds, of which a listener has one at a hostname (translate, settleRoutes).
func (d *differ) rivals(side *answers, other outcome) []model.Origin {
	if other.route == nil {
		return nil
	}
	var hostnames []string
	var list []model.Origin
	for _, a := range []*answers{d.before, d.after} {
		for _, e := range a.entries(other.table) {
			if e.Route == other.route {
				hostnames = append(hostnames, e.Hostnames...)
			}
		}
	}
	for _, e := range side.entries(other.table) {
		if e.Route.Kind != other.route.Kind && translate.HostnamesMeet(e.Hostnames, hostnames) && !d.unchanged(routeKey(e.Route)) {
			list = append(list, e.Route.Origin)
		}
	}
	return list
}

// entries are those of a table; none: there is no such table.
func (a *answers) entries(table string) []model.Entry {
	for _, t := range a.Snapshot.RouteTables {
		if t.Name == table {
			return t.Entries
		}
	}
	return nil
}

// mirrorCauses puts the backends with which a route's mirrors came or went in the place of the
// route, if nobody changed that.
func (d *differ) mirrorCauses(was, is *model.Route, list []model.Origin) []model.Origin {
	if key := routeKey(is); key != routeKey(was) || !d.unchanged(key) {
		return list
	}
	var backends []model.Origin
	for _, m := range slices.Concat(was.Mirrors, is.Mirrors) {
		key := armKey(m.Name)
		if slices.Contains(was.Mirrors, m) != slices.Contains(is.Mirrors, m) && !d.unchanged(key) {
			backends = addCauses(backends, d.before.origin(key), d.after.origin(key))
		}
	}
	if len(backends) == 0 {
		return list
	}
	list = slices.DeleteFunc(list, func(o model.Origin) bool { return o.Object == is.Origin.Object })
	return addCauses(list, backends...)
}

// unchanged reports whether both sides have an object, and with the same spec.
func (d *differ) unchanged(key resource.Key) bool {
	was, is := d.before.spec(key), d.after.spec(key)
	return was != nil && is != nil && reflect.DeepEqual(was, is)
}

// spec returns an object's spec; nil if there is none.
func (a *answers) spec(key resource.Key) any {
	if a.Set == nil {
		return nil
	}
	o := a.Set.Get(key)
	if o == nil || o.Value == nil {
		return nil
	}
	v := reflect.Indirect(reflect.ValueOf(o.Value)).FieldByName("Spec")
	if !v.IsValid() {
		return nil
	}
	return v.Interface()
}

// origin returns where an object was written; the zero Origin if that is unknown.
func (a *answers) origin(key resource.Key) model.Origin {
	if a.Set == nil {
		return model.Origin{}
	}
	o := a.Set.Get(key)
	if o == nil {
		return model.Origin{}
	}
	at := o.Position("spec")
	return model.Origin{Object: strings.Replace(key.String(), " ", "/", 1), File: at.File, Line: at.Line, Column: at.Column}
}

// owners returns where those were written to whom a listener belongs.
func (a *answers) owners(l *model.Listener) []model.Origin {
	var list []model.Origin
	for _, name := range translate.ListenersOf(l) {
		owner, _ := translate.TableOwner(name)
		list = addCauses(list, a.origin(owner))
	}
	return list
}

func routeKey(r *model.Route) resource.Key {
	return resource.Key{Group: "gateway.networking.k8s.io", Kind: r.Kind, Namespace: r.Namespace, Name: r.Object}
}

// armKey is the object that an arm is for: kind/namespace/name[/port].
func armKey(arm string) resource.Key {
	parts := strings.SplitN(arm, "/", 4)
	if len(parts) < 3 {
		return resource.Key{}
	}
	key := resource.Key{Kind: parts[0], Namespace: parts[1], Name: parts[2]}
	if key.Kind == "Backend" {
		key.Group = "weir.dev"
	}
	return key
}
