package explain

import (
	"strings"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/model"
)

// Written returns a Side's Where for the set that its snapshot was translated from.
func Written(set *resource.Set) func(arm string) model.Origin {
	groups := map[string]string{"Backend": "weir.dev"}
	return func(arm string) model.Origin {
		parts := strings.SplitN(arm, "/", 4) // kind/namespace/name[/port]
		if len(parts) < 3 {
			return model.Origin{}
		}
		o := set.Get(resource.Key{Group: groups[parts[0]], Kind: parts[0], Namespace: parts[1], Name: parts[2]})
		if o == nil {
			return model.Origin{}
		}
		at := o.Position("spec")
		return model.Origin{Object: strings.Join(parts[:3], "/"), File: at.File, Line: at.Line, Column: at.Column}
	}
}
