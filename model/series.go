package model

import "time"

// Sample is one series' value in the answer to a query of PromQL.
type Sample struct {
	Labels map[string]string // the name is __name__, where the answer has one
	Value  float64           // may be NaN or infinite
	At     time.Time
}

// RuleGroup is alert rules that are evaluated together, in order, at the same moments.
type RuleGroup struct {
	Name     string
	Interval time.Duration
	Rules    []AlertRule
}

// AlertRule is a question of PromQL that is asked at intervals: each series of its answer is an alert.
type AlertRule struct {
	Name        string
	Expr        string
	For         time.Duration     // how long an alert is pending
	Keep        time.Duration     // how long it goes on firing after it is in no answer any more: Prometheus's keep_firing_for
	Labels      map[string]string // over those of the answer
	Annotations map[string]string
}

// Alert is one series of the answer to a rule's question.
type Alert struct {
	Name        string
	Labels      map[string]string // alertname is one
	Annotations map[string]string
	Firing      bool      // false: pending
	Since       time.Time // when it began to be pending
	Gone        time.Time // since when it is in no answer, though firing still; zero: it is
	Value       float64
}
