package policy

import (
	"time"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/expression"
)

// Fault is a model.Fault ready for use. Whether it is stopped is not its business.
type Fault struct {
	*model.Fault

	when  *expression.Program // nil: every request
	below uint64              // a draw below this meets the fault; 0: every draw does
	lines []byte              // the field that marks what met it
}

// CompileFault prepares a fault; nil where it would do nothing. Translation has refused conditions
// that do not compile; one that does not all the same is met by no request.
func CompileFault(m *model.Fault) *Fault {
	if m.Share <= 0 {
		return nil
	}
	f := &Fault{Fault: m, lines: http1.AppendFieldString(nil, "X-Weir-Fault", m.Policy+"/"+m.Name)}
	if m.Share < 1 {
		f.below = max(uint64(m.Share*(1<<32)), 1)
	}
	if m.When != "" {
		program, err := expression.Compile(m.When, expression.Forwarding, expression.Bool)
		if err != nil {
			return nil
		}
		f.when = program
	}
	return f
}

// Drawn reports whether a request of whose condition nothing is known yet meets the fault at now,
// by a random number.
func (f *Fault) Drawn(now time.Time, random uint64) bool {
	return (f.below == 0 || random>>32 < f.below) && now.Before(f.Expires)
}

// Conditional reports whether Holds has to be asked as well.
func (f *Fault) Conditional() bool { return f.when != nil }

// Holds reports whether the fault's condition holds for what is known of a request. Where it is in
// error for it, it does not.
func (f *Fault) Holds(facts *Facts) bool {
	holds, err := f.when.Bool(facts)
	return err == nil && holds
}

// AppendTo appends the field that marks what met the fault.
func (f *Fault) AppendTo(dst []byte) []byte { return append(dst, f.lines...) }
