package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/source"
	"weir.dev/weir/telemetry/store"
)

// drillRun is how `weir drill run` was called.
type drillRun struct {
	admin, tokenFile string
	name             string
	output           format
}

func drillCommand(std Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use: "drill", Short: "Break something on purpose, and see whether what you expect holds", Args: noArgs,
	}
	cmd.AddCommand(drillRunCommand(std))
	return cmd
}

func drillRunCommand(std Streams) *cobra.Command {
	var c drillRun
	cmd := &cobra.Command{
		Use:   "run FILE",
		Short: "Play a Drill against a running Weir",
		Long: "Run looks at how things are, breaks what the Drill says, takes it back, and looks again. What users wrote is\n" +
			"never touched, and the faults expire by themselves even if this command or Weir is killed. Ctrl-C takes\n" +
			"them back at once; so does `weir fault stop`.\n\n" +
			"The exit code is 1 if an expectation does not hold or has no answer, and if the faults were not met: because no\n" +
			"request came, or somebody stopped them, as an objective that burns does.",
		Example: "  weir drill run payments-slow.yaml",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("want one file with a Drill")
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return c.run(ctx, std, args[0])
		},
	}
	adminFlags(cmd, &c.admin, &c.tokenFile)
	cmd.Flags().StringVar(&c.name, "name", "", "name of the Drill, where the file has several")
	c.output.flag(cmd)
	return cmd
}

// drillReport is what a drill came to.
type drillReport struct {
	Drill  string        `json:"drill"`
	Held   bool          `json:"held"` // every expectation, and the faults were met for the whole time
	Faults []drillFault  `json:"faults"`
	Checks []*drillCheck `json:"expectations"`

	gone bool // the faults were, before they were taken back
}

// drillFault is what became of one fault of the drill.
type drillFault struct {
	Name     string `json:"name"`
	Does     string `json:"does"`
	Injected uint64 `json:"injected"` // requests that met it
	// Problem is why the drill says nothing of it.
	Problem string `json:"problem,omitempty"`
}

// drillCheck is what an expectation came to.
type drillCheck struct {
	Name  string              `json:"name"`
	Phase resource.DrillPhase `json:"phase"`
	Want  string              `json:"want"`
	Value *float64            `json:"value,omitempty"` // absent: Problem says why
	Held  bool                `json:"held"`
	// Problem is why there is no value; it holds nothing then.
	Problem string `json:"problem,omitempty"`
}

func (c *drillRun) run(ctx context.Context, std Streams, file string) error {
	d, err := c.read(std, file)
	if err != nil {
		return err
	}
	client, err := authorised(c.admin, c.tokenFile)
	if err != nil {
		return err
	}
	progress := std.Err
	if c.output == formatText {
		progress = std.Out
	}
	report := &drillReport{Drill: d.Namespace + "/" + d.Name, Held: true}
	for _, phase := range d.Spec.Phases() {
		if phase.For == 0 {
			continue
		}
		fmt.Fprintf(progress, "%s  %s: %s for %v\n", time.Now().Format(time.TimeOnly), report.Drill, phaseWords[phase.Phase], phase.For)
		if phase.Phase == resource.DrillDuring {
			err = report.withFaults(ctx, client, d, phase.For)
		} else {
			err = pause(ctx, phase.For)
		}
		if err != nil {
			return err
		}
		for i := range d.Spec.Expect {
			e := &d.Spec.Expect[i]
			if e.Phase == phase.Phase || e.Phase == "" && phase.Phase == resource.DrillDuring {
				check := assess(ctx, client, e, phase.Phase, phase.For)
				report.Checks, report.Held = append(report.Checks, check), report.Held && check.Held
			}
		}
	}
	if err := c.output.write(std.Out, report, func() { report.print(std.Out) }); err != nil {
		return err
	}
	if !report.Held {
		return errFindings
	}
	return nil
}

var phaseWords = map[resource.DrillPhase]string{
	resource.DrillBefore: "before anything is broken", resource.DrillDuring: "broken on purpose", resource.DrillAfter: "recovering",
}

// read reads the one Drill of a file.
func (c *drillRun) read(std Streams, file string) (*resource.Drill, error) {
	data, err := source.ReadFile(file)
	if err != nil {
		return nil, err
	}
	objects, diagnostics := resource.DecodeDrills(file, data)
	wrong := false
	for _, d := range diagnostics {
		fmt.Fprintln(std.Err, d)
		wrong = wrong || d.Severity == resource.Error
	}
	if wrong {
		return nil, errFindings
	}
	var names []string
	var found *resource.Drill
	for _, o := range objects {
		names = append(names, o.Key.Name)
		if d, ok := o.Value.(*resource.Drill); ok && (c.name == "" || o.Key.Name == c.name) {
			found = d
			found.Namespace, found.Name = o.Key.Namespace, o.Key.Name
		}
	}
	switch {
	case len(names) == 0:
		return nil, fmt.Errorf("no Drill in %s", file)
	case found == nil:
		return nil, usagef("--name %s: there is no such Drill, but %s", c.name, strings.Join(names, ", "))
	case c.name == "" && len(names) > 1:
		return nil, usagef("%s has several Drills; choose with --name: %s", file, strings.Join(names, ", "))
	}
	return found, nil
}

// withFaults has the drill's faults met for a while, and takes them back whatever happens.
func (r *drillReport) withFaults(ctx context.Context, client client, d *resource.Drill, lasts time.Duration) (err error) {
	body := map[string]any{
		"namespace": d.Namespace, "name": d.Name, "reason": d.Spec.Reason,
		"targetRefs": d.Spec.TargetRefs, "faults": d.Spec.Faults, "seconds": (lasts + drillGrace).Seconds(),
	}
	stop := func() error {
		var done struct{ Done string }
		names := map[string]any{"namespace": d.Namespace, "name": d.Name}
		return client.post(context.WithoutCancel(ctx), "/api/v1/drills/stop", names, &done)
	}
	var done struct{ Done string }
	if err := client.post(ctx, "/api/v1/drills", body, &done); err != nil {
		if ctx.Err() != nil {
			_ = stop() // it may have begun
		}
		return err
	}
	err = pause(ctx, lasts)
	if err == nil {
		err = r.askFaults(ctx, client, d)
	}
	if problem := stop(); problem != nil && !r.gone {
		return errors.Join(err, fmt.Errorf("take the faults back: %w; they end by themselves within %v", problem, lasts+drillGrace))
	}
	return err
}

// askFaults notes what became of the drill's faults. Where nobody met one, or it was stopped, what
// was expected has not been tried.
func (r *drillReport) askFaults(ctx context.Context, client client, d *resource.Drill) error {
	policy := d.Namespace + "/drill-" + d.Name
	var live struct {
		Revision uint64
		Items    []struct {
			Name, Does, State string
			Injected          uint64
			Stop              struct{ By, Reason string }
		}
	}
	if err := client.get(ctx, "/api/v1/faults?name="+url.QueryEscape(policy), &live); err != nil {
		return err
	}
	r.gone = len(live.Items) == 0
	for i := range d.Spec.Faults {
		f := drillFault{Name: string(d.Spec.Faults[i].Name), Problem: "is gone: Weir was started anew, or the drill was ended"}
		for _, l := range live.Items {
			if l.Name != f.Name {
				continue
			}
			f.Does, f.Injected, f.Problem = l.Does, l.Injected, ""
			switch {
			case l.State == "stopped":
				f.Problem = strings.TrimSuffix("was stopped by "+l.Stop.By+": "+l.Stop.Reason, ": ")
			case l.Injected == 0:
				f.Problem = "no request met it"
			}
		}
		r.Faults, r.Held = append(r.Faults, f), r.Held && f.Problem == ""
	}
	return nil
}

// drillGrace is how much longer than its phase a drill's faults may live, should nobody take them back.
const drillGrace = 5 * time.Second

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return errors.New("interrupted: the faults are taken back, and nothing is known")
	}
}

// assess asks for an expectation's number. Without exactly one nothing is known, so it does not hold.
func assess(ctx context.Context, client client, e *resource.DrillExpectation, phase resource.DrillPhase, lasted time.Duration) *drillCheck {
	check := &drillCheck{Name: e.Name, Phase: phase}
	least, most := e.Min.Of(math.Inf(-1)), e.Max.Of(math.Inf(1))
	switch {
	case e.Max == "":
		check.Want = "at least " + string(e.Min)
	case e.Min == "":
		check.Want = "at most " + string(e.Max)
	default:
		check.Want = string(e.Min) + " to " + string(e.Max)
	}
	value, err := client.number(ctx, e.Query(lasted))
	if errors.Is(err, errNoSeries) && lasted < 3*store.DefaultInterval {
		err = fmt.Errorf("%w; series have a value every %v: let the phase last for %v or more", err, store.DefaultInterval, 3*store.DefaultInterval)
	}
	if err != nil {
		check.Problem = err.Error()
		return check
	}
	check.Value, check.Held = &value, value >= least && value <= most
	return check
}

// errNoSeries says that nobody has counted anything of the kind.
var errNoSeries = errors.New("the query comes to nothing; want one number")

// number asks a query that comes to one number.
func (c client) number(ctx context.Context, query string) (float64, error) {
	var said struct {
		Status, Error string
		Data          struct {
			ResultType string
			Result     json.RawMessage
		}
	}
	if err := c.raw(ctx, "/prometheus/api/v1/query?query="+url.QueryEscape(query), &said); err != nil {
		return 0, err
	}
	if said.Status != "success" {
		return 0, fmt.Errorf("the query is wrong: %s", said.Error)
	}
	var point [2]any
	if said.Data.ResultType == "scalar" {
		if err := json.Unmarshal(said.Data.Result, &point); err != nil {
			return 0, err
		}
	} else {
		var series []struct{ Value [2]any }
		if err := json.Unmarshal(said.Data.Result, &series); err != nil || len(series) != 1 {
			if err == nil && len(series) == 0 {
				return 0, errNoSeries
			}
			return 0, fmt.Errorf("the query comes to %d series; want one number", len(series))
		}
		point = series[0].Value
	}
	text, _ := point[1].(string)
	value, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(value) || math.IsInf(value, 0) {
		return 0, fmt.Errorf("the query comes to %q, which is no number", text)
	}
	return value, nil
}

func (r *drillReport) print(out io.Writer) {
	faults := make([][]string, len(r.Faults))
	for i, f := range r.Faults {
		faults[i] = []string{f.Name, cmp.Or(f.Does, "-"), strconv.FormatUint(f.Injected, 10), f.Problem}
	}
	fmt.Fprintln(out)
	table(out, []string{"fault", "does", "met by", "problem"}, faults)
	rows := make([][]string, len(r.Checks))
	for i, c := range r.Checks {
		got := c.Problem
		if c.Value != nil {
			got = strconv.FormatFloat(*c.Value, 'g', 6, 64)
		}
		rows[i] = []string{c.Name, string(c.Phase), c.Want, got, map[bool]string{true: "yes", false: "NO"}[c.Held]}
	}
	fmt.Fprintln(out)
	table(out, []string{"expectation", "phase", "want", "got", "held"}, rows)
}
