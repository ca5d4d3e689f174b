package model

import (
	"slices"
	"strings"
)

// Explanation says what happens to one request and why: which listener, route and policies
// it meets, and which hosts can answer it. A proxy gives one for a live request
// (x-weir-explain), `weir explain` for one that nobody sent. What does not apply is empty.
type Explanation struct {
	Listener string `json:"listener,omitempty"` // Listener.Name
	// Identity is what the client of a live request proved with a certificate (a SPIFFE ID).
	Identity string `json:"identity,omitempty"`
	// Hostname is the TableBinding.Hostname that the request's host fell under; empty: the
	// binding for every host, or none where Table is empty too.
	Hostname string `json:"hostname,omitempty"`
	Table    string `json:"table,omitempty"` // RouteTable.Name
	Route    string `json:"route,omitempty"` // Route.Name
	Rule     string `json:"rule,omitempty"`  // Route.Rule
	// Match is the alternative of the rule that held, as Match.Shown has it: `GET prefix /cart`.
	Match  string `json:"match,omitempty"`
	Origin Origin `json:"origin,omitzero"` // of the rule
	// Reason says why no route was found, or why the rule or arm does not forward.
	Reason string `json:"reason,omitempty"`
	// Policy is what EffectivePolicy says.
	Policy []PolicyField `json:"policy,omitempty"`

	Arm     string `json:"arm,omitempty"` // Arm.Name; of a request nobody sent: empty unless there is only one
	Cluster string `json:"cluster,omitempty"`
	// Arms are all arms of the split with their shares.
	Arms []ArmShare `json:"arms,omitempty"`
	// Release says what a live request was to the Rollout of its rule; nil: none has it.
	Release *ExplainedRelease `json:"release,omitempty"`
	// Hosts are the addresses that may be chosen, at most twenty of them.
	Hosts []string `json:"hosts,omitempty"`
	// ForwardedHost and ForwardedPath are what a backend sees of a request nobody sent: the
	// Host and the path with its query.
	ForwardedHost string `json:"forwardedHost,omitempty"`
	ForwardedPath string `json:"forwardedPath,omitempty"`
	// Location is where a redirect sends a request nobody sent.
	Location string `json:"location,omitempty"`

	// Attempts are the tries of a live request, in their order.
	Attempts []ExplainedAttempt `json:"attempts,omitempty"`
	Status   int                `json:"status,omitempty"` // of the answer; 0: not answered
	Flag     string             `json:"flag,omitempty"`   // response flag

	// Lost are the routes that would have matched next, or nearly; at most twenty of them.
	Lost []LostRoute `json:"lost,omitempty"`
	// LostMore counts those that Lost leaves out.
	LostMore int `json:"lostMore,omitempty"`

	Version  string `json:"version,omitempty"`
	Revision uint64 `json:"revision,omitempty"`
	// Cut says that parts were left out or shortened because the whole was too long.
	Cut bool `json:"cut,omitempty"`
}

// PolicyField is one field of an effective policy.
type PolicyField struct {
	Field   string `json:"field"` // a path such as timeouts.request, as in Origins
	Value   string `json:"value"` // as it would be written
	Origin  Origin `json:"origin,omitzero"`
	Default bool   `json:"default,omitempty"` // nobody set it
}

// ArmShare is one arm of a split.
type ArmShare struct {
	Name    string  `json:"name"`
	Cluster string  `json:"cluster,omitempty"` // empty: it refuses
	Weight  uint32  `json:"weight"`
	Share   float64 `json:"share"` // of the split's requests, 0 to 1: at present, or while no knob says otherwise
	// Release says what the arm is to a Rollout: "canary of shop/checkout"; empty: nothing.
	Release string `json:"release,omitempty"`
	// Refusal says why this arm's share is refused.
	Refusal string `json:"refusal,omitempty"`
	// Policy and Hosts are the arm's part of Explanation's, where there are several arms.
	Policy []PolicyField `json:"policy,omitempty"`
	Hosts  []string      `json:"hosts,omitempty"`
}

// ExplainedRelease is what a Rollout does with a live request.
type ExplainedRelease struct {
	Name       string `json:"name"`          // namespace/name of the Rollout
	Run        uint64 `json:"run,omitempty"` // 0: nothing is decided for what is written
	Generation uint64 `json:"generation,omitempty"`
	Share      Share  `json:"share"` // of the canary, of what it and stable have together
	// Arm is stable or canary, as it was chosen; empty: another arm of the rule, or none.
	Arm string `json:"arm,omitempty"`
	// Bucket is that of the user, from 0, where it has decided.
	Bucket *uint16 `json:"bucket,omitempty"`
	Why    string  `json:"why,omitempty"` // what has decided: cohort, caller, key, cookie, chance
}

// ExplainedAttempt is one try of a live request.
type ExplainedAttempt struct {
	Host    string `json:"host"`
	Outcome string `json:"outcome"` // the status of the answer, or the response flag of what failed
	Error   string `json:"error,omitempty"`
}

// LostRoute is a route that did not get the request.
type LostRoute struct {
	Route  string `json:"route"`
	Origin Origin `json:"origin,omitzero"`
	Why    string `json:"why"`
}

// Shown returns the match as people may read it: String without values that may be secrets.
func (m *Match) Shown() string {
	shown := *m
	shown.Headers, shown.Query = hideValues(m.Headers), hideValues(m.Query)
	return shown.String()
}

func hideValues(list []ValueMatch) []ValueMatch {
	hidden := slices.Clone(list)
	for i := range hidden {
		hidden[i].Value = Hidden(hidden[i].Name, hidden[i].Value)
	}
	return hidden
}

// String returns the whole match: "GET prefix /cart header x-a=1 query q=2".
func (m *Match) String() string {
	var b strings.Builder
	if m.Method != "" {
		b.WriteString(m.Method + " ")
	}
	b.WriteString(strings.ToLower(string(m.Path.Type)) + " " + m.Path.Value)
	values := func(what string, list []ValueMatch) {
		for _, v := range list {
			operator := "="
			if v.Type == MatchRegex {
				operator = "~"
			}
			b.WriteString(" " + what + " " + v.Name + operator + v.Value)
		}
	}
	values("header", m.Headers)
	values("query", m.Query)
	return b.String()
}
