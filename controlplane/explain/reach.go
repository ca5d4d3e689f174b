package explain

import "weir.dev/weir/model"

// Reach returns the route that serves a request. Where none does, the reason says why. The
// error says what is wrong with the question.
func (e *Explainer) Reach(r Request) (route *model.Route, reason string, err error) {
	p, err := r.parse()
	if err != nil {
		return nil, "", err
	}
	f := e.find(p)
	return f.route, f.reason, nil
}
