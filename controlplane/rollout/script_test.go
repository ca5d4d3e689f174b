package rollout

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
)

var update = flag.Bool("update", false, "rewrite the scripts' answers")

// A script of testdata is paragraphs: commands, a line of dashes, and what came of them. Commands:
//
//	plan [KEY=VALUE...]            stages=1%:2m,100% gates=owner,slo approval=NAME:WHO min=500 subject=v1 weights=90,10
//	                               strategy=BlueGreen cohort=preview policy=p1 problem="..." ; what is not said stays as it was
//	run DURATION [KEY=VALUE...]    that much time, with a tick and an observation each second; canary=10 stable=90
//	                               requests, cfailed=1 sfailed=1 failures each second; unhealthy silent; preview=5
//	                               pfailed=1 of a cohort
//	see [KEY=VALUE...]             one observation: gen=2 run=1 since=-5s canary=100 (all in all) trip="..."
//	jump DURATION                  the clock of the wall; no tick is missed
//	tick DURATION                  one tick after so much time
//	gates NAME=VERDICT...          the answer to what was asked; of=-1: of the round before
//	do VERB KEY=VALUE...           by=ann groups=team:pay reason="..." gate=owner override="..."
//	freeze OWNER REASON | thaw
//	restart                        of the process, after what was saved last
//	gone | knob | status
type script struct {
	t     *testing.T
	r     *Rollout
	saved State
	plan  *translate.RolloutPlan
	now   time.Time
	seen  model.ReleaseObservation // by the proxy, all in all
	asked *Round
	out   *strings.Builder
}

func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			begin := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
			s := &script{t: t, r: New("shop/checkout", ""), now: begin, plan: defaultPlan()}
			var rewritten []string
			for paragraph := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n\n") {
				commands, want, _ := strings.Cut(strings.TrimSpace(paragraph)+"\n", "----\n")
				s.out = new(strings.Builder)
				for line := range strings.SplitSeq(strings.TrimSpace(commands), "\n") {
					if !strings.HasPrefix(line, "#") {
						s.command(line)
					}
				}
				if s.out.Len() == 0 {
					s.out.WriteString("nothing\n")
				}
				if got := s.out.String(); got != want && !*update {
					t.Errorf("%s\ngot:\n%swant:\n%s", commands, got, want)
				}
				rewritten = append(rewritten, strings.TrimSpace(commands)+"\n----\n"+strings.TrimSuffix(s.out.String(), "\n"))
			}
			if *update {
				if err := os.WriteFile(file, []byte(strings.Join(rewritten, "\n\n")+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func defaultPlan() *translate.RolloutPlan {
	return &translate.RolloutPlan{
		Name: "shop/checkout", Strategy: translate.StrategyCanary, MinimumRequests: 500, Policy: "p1",
		Release: &model.Release{Name: "shop/checkout", Subject: "v1", Stable: "stable", Canary: "canary"},
		Weights: []translate.PlannedWeight{{Arm: "stable", Weight: 100}, {Arm: "canary"}},
		Stages:  []translate.PlannedStage{{Share: 100, For: 2 * time.Minute}, {Share: 1000, For: 5 * time.Minute}, {Share: model.Buckets}},
	}
}

// words splits a line at spaces outside quotes, and drops the quotes.
func words(line string) []string {
	var list []string
	quoted, word, any := false, "", false
	for _, c := range line {
		switch {
		case c == '"':
			quoted, any = !quoted, true
		case c == ' ' && !quoted:
			if any {
				list = append(list, word)
			}
			word, any = "", false
		default:
			word += string(c)
			any = true
		}
	}
	if any {
		list = append(list, word)
	}
	return list
}

func (s *script) command(line string) {
	w := words(line)
	args := map[string]string{}
	for _, a := range w[1:] {
		k, v, _ := strings.Cut(a, "=")
		args[k] = v
	}
	switch w[0] {
	case "plan":
		s.newPlan(args)
		s.step(Event{Plan: s.plan})
	case "run":
		s.run(s.duration(w[1]), args)
	case "see":
		s.see(args)
	case "jump":
		s.now = s.now.Add(s.duration(w[1]))
	case "tick":
		s.now = s.now.Add(s.duration(w[1]))
		s.step(Event{})
	case "gates":
		s.gates(args)
	case "do":
		c := &Command{Do: Verb(w[1]), By: args["by"], Reason: args["reason"], Gate: args["gate"], OverrideFreeze: args["override"]}
		if g := args["groups"]; g != "" {
			c.Groups = strings.Split(g, ",")
		}
		s.step(Event{Command: c})
	case "freeze":
		s.step(Event{Freeze: &Freeze{w[1], w[2]}})
	case "thaw":
		s.step(Event{Freeze: &Freeze{}})
	case "restart":
		s.r = Restore(s.saved)
		s.seen = model.ReleaseObservation{}
		s.step(Event{Plan: s.plan})
	case "gone":
		s.step(Event{Gone: true})
	case "knob":
		fmt.Fprintln(s.out, knobText(s.r.Knob()))
	case "status":
		s.status()
	default:
		s.t.Fatalf("no command %q", line)
	}
}

func (s *script) duration(text string) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

func (s *script) number(text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil && text != "" {
		s.t.Fatal(err)
	}
	return n
}

func (s *script) newPlan(args map[string]string) {
	p := *s.plan
	release := *p.Release
	p.Release = &release
	if args["only"] != "" { // these gates, and no others
		p.Gates = nil
	}
	delete(args, "only")
	for _, k := range slices.Sorted(maps.Keys(args)) {
		v := args[k]
		switch k {
		case "subject":
			release.Subject = model.Hash(v)
		case "min":
			p.MinimumRequests = int(s.number(v))
		case "cohort":
			release.Cohorts = []model.Cohort{{Name: v, When: "true"}}
		case "policy":
			p.Policy = model.Hash(v)
		case "problem":
			p.Problem = v
		case "strategy":
			p.Strategy = translate.Strategy(v)
		case "weights":
			p.Weights = nil
			for i, n := range strings.Split(v, ",") {
				p.Weights = append(p.Weights, translate.PlannedWeight{Arm: []string{"stable", "canary", "other"}[i], Weight: uint32(s.number(n))})
			}
		case "stages":
			p.Stages = nil
			for _, stage := range strings.Split(v, ",") {
				share, lasts, timed := strings.Cut(stage, ":")
				percent, err := strconv.ParseFloat(strings.TrimSuffix(share, "%"), 64)
				if err != nil {
					s.t.Fatal(err)
				}
				planned := translate.PlannedStage{Share: int(percent * 100)}
				if timed {
					planned.For = s.duration(lasts)
				}
				p.Stages = append(p.Stages, planned)
			}
		case "gates":
			for _, g := range strings.Split(v, ",") {
				p.Gates = append(p.Gates, translate.PlannedGate{Name: g, SLO: g})
			}
		case "approval":
			name, who, _ := strings.Cut(v, ":")
			p.Gates = append(p.Gates, translate.PlannedGate{Name: name, Approval: strings.Split(who, "|")})
		default:
			s.t.Fatalf("plan: %s", k)
		}
	}
	s.plan = &p
}

// observation is what the proxy has seen of the present generation, which it begins to count anew.
func (s *script) observation() *model.ReleaseObservation {
	if k := s.r.Knob(); k != nil && (k.Run != s.seen.Run || k.Generation != s.seen.Generation) {
		s.seen = model.ReleaseObservation{Release: k.Release, Subject: k.Subject, Run: k.Run, Generation: k.Generation, Since: s.now}
	}
	return &s.seen
}

func (s *script) run(d time.Duration, args map[string]string) {
	_, silent := args["silent"]
	_, unhealthy := args["unhealthy"]
	for end := s.now.Add(d); s.now.Before(end); {
		s.now = s.now.Add(time.Second)
		if o := s.observation(); !silent && o.Run > 0 {
			o.StableUnhealthy = unhealthy
			o.Canary.Requests += s.number(args["canary"])
			o.Stable.Requests += s.number(args["stable"])
			o.Canary.Failed += s.number(args["cfailed"])
			o.Stable.Failed += s.number(args["sfailed"])
			o.Canary.Users = min(o.Canary.Requests, 100)
			o.Stable.Users = min(o.Stable.Requests, 9900)
			if args["preview"] != "" {
				was := append(o.Cohorts, model.CohortObservation{})[0]
				o.Cohorts = []model.CohortObservation{{Name: "preview", Requests: was.Requests + s.number(args["preview"]), Failed: was.Failed + s.number(args["pfailed"])}}
			}
			said := *o
			s.step(Event{Observation: &said})
		}
		s.step(Event{})
	}
}

func (s *script) see(args map[string]string) {
	o := *s.observation()
	for k, v := range args {
		switch k {
		case "gen":
			o.Generation = s.number(v)
		case "run":
			o.Run = s.number(v)
		case "since":
			o.Since = o.Since.Add(s.duration(v))
		case "canary":
			o.Canary.Requests = s.number(v)
		case "stable":
			o.Stable.Requests = s.number(v)
		case "cfailed":
			o.Canary.Failed = s.number(v)
		case "trip":
			o.Trip = &model.ReleaseTrip{At: s.now, Reason: v}
		default:
			s.t.Fatalf("see: %s", k)
		}
	}
	s.step(Event{Observation: &o})
}

func (s *script) gates(args map[string]string) {
	if s.asked == nil {
		s.t.Fatal("no gate was asked")
	}
	result := &RoundResult{Run: s.asked.Run, Generation: s.asked.Generation, Number: s.asked.Number}
	for _, k := range slices.Sorted(maps.Keys(args)) {
		if k == "of" {
			result.Number--
			continue
		}
		verdict, message, _ := strings.Cut(args[k], ":")
		result.Results = append(result.Results, GateResult{Gate: k, Verdict: Verdict(verdict), Message: message})
	}
	s.step(Event{Round: result})
}

// step steps, and says what came of it but for what is saved every ten seconds.
func (s *script) step(e Event) {
	phase := s.r.Phase
	share, was := s.r.Share, s.r.Knob()
	actions := s.r.Step(s.now, e)
	for _, a := range actions {
		at := s.now.Format("15:04:05")
		switch a.Do {
		case Save:
			s.saved = s.r.State
			if a.Retreat {
				fmt.Fprintf(s.out, "%s save, at once if it cannot be\n", at)
			}
		case Note:
			text := fmt.Sprintf("%s %s by %s", at, a.Entry.What, a.Entry.Who)
			if a.Entry.Why != "" {
				text += ": " + a.Entry.Why
			}
			if a.Entry.Numbers != "" {
				text += " [" + a.Entry.Numbers + "]"
			}
			fmt.Fprintln(s.out, text)
		case Tune:
			fmt.Fprintf(s.out, "%s tune %s\n", at, knobText(s.r.Knob()))
		case Ask:
			s.asked = a.Round
			var names []string
			for _, g := range a.Round.Gates {
				names = append(names, g.Name)
			}
			fmt.Fprintf(s.out, "%s ask %s, before %v\n", at, strings.Join(names, " "), a.Round.Ask.NextShare)
		case Refuse:
			fmt.Fprintf(s.out, "%s refuse: %s\n", at, a.Refusal)
		}
	}
	if s.r.Phase != phase {
		fmt.Fprintf(s.out, "%s %s -> %s\n", s.now.Format("15:04:05"), phase, s.r.Phase)
	}
	s.check(e, share, was, actions)
}

// check holds of every step of every script.
func (s *script) check(e Event, share int, was *model.ReleaseKnob, actions []Action) {
	s.t.Helper()
	tuned := slices.ContainsFunc(actions, func(a Action) bool { return a.Do == Tune })
	saved := slices.IndexFunc(actions, func(a Action) bool { return a.Do == Save })
	k := s.r.Knob()
	if knobText(was) != knobText(k) && !tuned {
		s.t.Errorf("the knob changed and proxies were not told: %s", knobText(k))
	}
	if tuned && saved != 0 {
		s.t.Error("proxies are told of what is not saved")
	}
	if tuned && was != nil && k != nil && k.Subject == was.Subject && (k.Run < was.Run || k.Run == was.Run && k.Generation <= was.Generation) {
		s.t.Errorf("run and generation did not grow: %s after %s", knobText(k), knobText(was))
	}
	fresh := was == nil || k == nil || k.Run != was.Run
	if e.Plan != nil && s.r.Share > share && !fresh {
		s.t.Errorf("an edit raised the share from %d to %d", share, s.r.Share)
	}
	if saved >= 0 && actions[saved].Retreat && s.r.Share > share {
		s.t.Error("more for the canary is not to wait for the disk")
	}
}

func knobText(k *model.ReleaseKnob) string {
	if k == nil {
		return "nothing"
	}
	text := fmt.Sprintf("%s run %d gen %d", k.Subject, k.Run, k.Generation)
	if !k.Running {
		text += " over"
	}
	for _, r := range k.Ranges {
		text += fmt.Sprintf(" %s[%d,%d)", r.Arm, r.From, r.To)
	}
	return text
}

func (s *script) status() {
	st := s.r.Status()
	fmt.Fprintf(s.out, "%s run %d stage %d of %d, %v", st.Phase, st.Run, st.Stage, len(st.Stages), st.Share)
	if st.Elapsed != "" {
		fmt.Fprintf(s.out, ", %s", st.Elapsed)
	}
	if st.Blocking != nil {
		fmt.Fprintf(s.out, ", %s: %s", st.Blocking.Name, st.Blocking.Message)
	}
	fmt.Fprintln(s.out)
	for _, g := range st.Gates {
		fmt.Fprintf(s.out, "  gate %s: %s: %s\n", g.Gate, g.Verdict, g.Message)
	}
	for _, n := range st.Notes {
		fmt.Fprintf(s.out, "  note %s\n", n)
	}
	if f := st.Figures; f != nil {
		fmt.Fprintf(s.out, "  canary %d requests, %d failed (%.4f..%.4f); stable %d requests, %d failed\n",
			f.Canary.Requests, f.Canary.Failed, f.Canary.Low, f.Canary.High, f.Stable.Requests, f.Stable.Failed)
		for _, c := range f.Cohorts {
			fmt.Fprintf(s.out, "  cohort %s %d requests, %d failed\n", c.Name, c.Requests, c.Failed)
		}
	}
}
