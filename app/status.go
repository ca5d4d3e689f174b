package app

import (
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir.dev/weir/console"
	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/translate"
)

// transitions remembers since when each condition of each status has its value, so that
// lastTransitionTime is true although translation is pure. It is not safe for concurrent
// use; what it returns is.
type transitions struct {
	last dates
}

// dates are statuses, in the order of keys, and of each the times of its conditions.
type dates struct {
	statuses []translate.Status
	times    []*dated
}

// of returns the status of an object; nil: it has none.
func (d dates) of(key resource.Key) *dated {
	i, ok := slices.BinarySearchFunc(d.statuses, key, func(s translate.Status, k resource.Key) int { return s.Key.Compare(k) })
	if !ok {
		return nil
	}
	return d.times[i]
}

// dated is a status with the times of its conditions. It is immutable.
type dated struct {
	value any
	since time.Time            // of conditions that changed does not name
	later map[string]time.Time // by place and type
}

// follow dates the statuses: those that are new or different change now, the rest keep
// their times.
func (t *transitions) follow(statuses []translate.Status, now time.Time) dates {
	next := dates{statuses, make([]*dated, len(statuses))}
	for i, s := range statuses {
		old := t.last.of(s.Key)
		switch {
		case old == nil:
			next.times[i] = &dated{value: s.Value, since: now}
		case reflect.DeepEqual(old.value, s.Value): // quick where the memo shares slices
			next.times[i] = old
		default:
			next.times[i] = old.changed(s.Value, now)
		}
	}
	t.last = next
	return next
}

// changed dates a new value: conditions with the same status as before keep their time.
func (d *dated) changed(value any, now time.Time) *dated {
	next := &dated{value: value, since: d.since, later: map[string]time.Time{}}
	before := map[string]string{}
	eachCondition(tree(d.value), func(of string, c map[string]any) {
		before[of+" "+text(c["type"])] = text(c["status"])
	})
	eachCondition(tree(value), func(of string, c map[string]any) {
		key := of + " " + text(c["type"])
		if was, ok := before[key]; !ok || was != text(c["status"]) {
			next.later[key] = now
		} else if at, ok := d.later[key]; ok {
			next.later[key] = at
		}
	})
	return next
}

// render returns the status as JSON shows it, with times, and its conditions in one list.
func (d *dated) render() (map[string]any, []console.Condition) {
	status := tree(d.value)
	var list []console.Condition
	eachCondition(status, func(of string, c map[string]any) {
		at, ok := d.later[of+" "+text(c["type"])]
		if !ok {
			at = d.since
		}
		c["lastTransitionTime"] = at.UTC().Format(time.RFC3339)
		list = append(list, console.Condition{
			Of: of, Type: text(c["type"]), Status: text(c["status"]), Reason: text(c["reason"]), Message: text(c["message"]),
		})
	})
	return status, list
}

// tree is a value as JSON shows it.
func tree(value any) map[string]any {
	var m map[string]any
	data, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	if err != nil {
		panic("app: a status is not a JSON object: " + err.Error())
	}
	return m
}

// eachCondition visits the conditions of a status and of its parts: a Gateway's listeners,
// a route's parents, a policy's ancestors. of names the part.
func eachCondition(status map[string]any, visit func(of string, condition map[string]any)) {
	visitConditions(status, "", visit)
	for _, part := range []struct{ list, ref string }{{"listeners", ""}, {"parents", "parentRef"}, {"ancestors", "ancestorRef"}} {
		items, _ := status[part.list].([]any)
		for _, item := range items {
			if m, ok := item.(map[string]any); ok {
				of := m
				if part.ref != "" {
					of, _ = m[part.ref].(map[string]any)
				}
				visitConditions(m, nameOf(of), visit)
			}
		}
	}
}

func visitConditions(m map[string]any, of string, visit func(string, map[string]any)) {
	list, _ := m["conditions"].([]any)
	for _, item := range list {
		if c, ok := item.(map[string]any); ok {
			visit(of, c)
		}
	}
}

// nameOf names a listener or a reference: "Gateway shop/edge/web".
func nameOf(ref map[string]any) string {
	var path []string
	for _, part := range []string{"namespace", "name", "sectionName"} {
		if s := text(ref[part]); s != "" {
			path = append(path, s)
		}
	}
	name := strings.Join(path, "/")
	if port, ok := ref["port"].(float64); ok {
		name += ":" + strconv.Itoa(int(port))
	}
	if kind := text(ref["kind"]); kind != "" {
		name = kind + " " + name
	}
	return name
}

func text(v any) string {
	s, _ := v.(string)
	return s
}
