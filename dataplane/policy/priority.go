package policy

import (
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/expression"
)

// Priorities give requests their class: the first whose condition holds. Where a condition is
// in error for a request it does not hold, as in RouteCondition.
type Priorities struct{ list []priority }

type priority struct {
	when  *expression.Program // nil: every request
	never bool                // the condition does not compile
	class model.Class
}

// CompilePriorities prepares priorities; nil for none. Translation has refused what does not
// compile.
func CompilePriorities(list []model.Priority) *Priorities {
	if len(list) == 0 {
		return nil
	}
	p := &Priorities{make([]priority, len(list))}
	for i, m := range list {
		p.list[i].class = m.Class
		if m.When != "" {
			program, err := expression.Compile(m.When, expression.Forwarding, expression.Bool)
			p.list[i].when, p.list[i].never = program, err != nil
		}
	}
	return p
}

// Class returns the class of a request, and ClassNone where no condition holds.
func (p *Priorities) Class(f *Facts) model.Class {
	for i := range p.list {
		at := &p.list[i]
		if at.never {
			continue
		}
		if at.when == nil {
			return at.class
		}
		if holds, err := at.when.Bool(f); err == nil && holds {
			return at.class
		}
	}
	return model.ClassNone
}

// ParsePriority returns the class that the value of x-weir-priority names, in the letters in
// which String writes it.
func ParsePriority(value []byte) (model.Class, bool) {
	for c := model.ClassSheddable; c < model.Classes; c++ {
		if string(value) == c.String() {
			return c, true
		}
	}
	return model.ClassNone, false
}
