package translate

import (
	"time"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/model"
)

// RolloutPlan is what a Rollout asks for, for the room that decides how far it is.
type RolloutPlan struct {
	Name string // namespace/name, as Release.Name
	// Release is what the splits of the rule have, but that its Subject is always the true one. It
	// is nil where the Rollout has nothing to act on: then Problem says why.
	Release *model.Release
	// Splits are the names of the splits that have the release: the rule's, once however many
	// variants there are. None: no listener serves the rule.
	Splits []string
	// Routes are the model.Route.Names of the rule, variants included, and Clusters the
	// model.Cluster.Names of stable and canary there.
	Routes, Clusters []string
	// Weights are those of the rule's arms as written, stable first, then the canary (0 if the rule
	// does not list it), then the others in their order.
	Weights  []PlannedWeight
	Strategy Strategy
	// Stages grow up to all of model.Buckets; of BlueGreen the only one is the switch.
	Stages []PlannedStage
	Gates  []PlannedGate
	// MinimumRequests are those of each arm in a stage, 1 or more.
	MinimumRequests int
	// Policy is a hash of what else decides how requests of the rule fare: timeouts, retries,
	// sampling. While a run lasts it should not change.
	Policy  model.Hash
	Origin  model.Origin
	Created time.Time // zero for files
	// Problem is why the Rollout does not act: everything of both arms is stable's while it is
	// set, or where Release is nil as the rule says. Empty: it acts.
	Problem string
}

// Strategy is how a new version takes over.
type Strategy string

// The strategies.
const (
	StrategyCanary    Strategy = "Canary"
	StrategyBlueGreen Strategy = "BlueGreen"
)

// PlannedWeight is the weight of an arm.
type PlannedWeight struct {
	Arm    string // model.Arm.Name
	Weight uint32
}

// PlannedStage is a share of the canary, and how long it lasts at least.
type PlannedStage struct {
	Share int // of model.Buckets, above 0; of what stable and canary have together
	For   time.Duration
}

// PlannedGate is what must pass before the next stage. One of its kinds is set.
type PlannedGate struct {
	Name     string
	SLO      string // ObjectivePlan.Name; there may be none of that name
	Query    *QueryGate
	Webhook  *WebhookGate
	Approval []string // who may approve: team:payments
	Origin   model.Origin
}

// QueryGate is PromQL, which parses, and the bounds of its value.
type QueryGate struct {
	Query    string
	Min, Max *float64 // one at least
	Address  string   // the URL of a Prometheus; empty: our own time series
	Access   GateAccess
}

// WebhookGate is a URL to ask, and for how long to wait.
type WebhookGate struct {
	URL     string
	Timeout time.Duration
	Access  GateAccess
}

// ObjectivePlan is what a ServiceLevelObjective promises.
type ObjectivePlan struct {
	Name string // namespace/name
	// Routes are the model.Route.Names that it covers, variants included, or else Clusters the
	// model.Cluster.Names. Neither: nothing is served of what it is about.
	Routes, Clusters []string
	Latency          time.Duration // that a good request takes at most; 0: the indicator is availability
	Objective        float64       // the share of good requests, above 0 and below 1
	Window           time.Duration
	// FreezeRollouts holds, while the budget burns, Rollouts that have a route or cluster of it.
	FreezeRollouts bool
	Targets        []resource.Key // as written
	Origin         model.Origin
	Problem        string // why it is not as written: a target that is not there; empty: nothing
}
