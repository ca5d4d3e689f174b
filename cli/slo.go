package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"weir.dev/weir/controlplane/slo"
	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
)

func sloCommand(std Streams) *cobra.Command {
	cmd := inquiry[slo.Status]{"ServiceLevelObjective", "/api/v1/slos", printObjectives}.serve(std, &cobra.Command{
		Use:   "slo [NAMESPACE/NAME]",
		Short: "Show how service level objectives are kept",
		Long: "Slo shows what each ServiceLevelObjective promises, how many requests were good, what is left of the\n" +
			"budget of bad ones, and how many times too fast it burns over the windows of its alerts.",
		Example: "  weir slo\n  weir slo shop/checkout -o json\n  weir slo rules -f ./routes > weir.rules.yaml",
	})
	cmd.AddCommand(sloRulesCommand(std))
	return cmd
}

func sloRulesCommand(std Streams) *cobra.Command {
	var files []string
	cmd := &cobra.Command{
		Use:   "rules -f PATH...",
		Short: "Print the objectives' alerts as a rule file of Prometheus",
		Long: "Rules prints, for a Prometheus that scrapes Weir, the alerts that Weir itself evaluates: for each objective\n" +
			"the multi-window, multi-burn-rate alerts of Google's Site Reliability Workbook, chapter 5.",
		Example: "  weir slo rules -f ./routes > weir.rules.yaml",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(files) == 0 {
				return usagef("no objectives to print alerts of: give files or folders with -f")
			}
			if err := present(files); err != nil {
				return err
			}
			return printRules(cmd.Context(), std, files)
		},
	}
	cmd.Flags().StringArrayVarP(&files, "file", "f", nil, "file or folder with resources, - for standard input; repeatable")
	return cmd
}

func printObjectives(out io.Writer, items []slo.Status) {
	var rows [][]string
	for _, s := range items {
		rows = append(rows, objectiveRow(&s))
	}
	table(out, []string{"objective", "promised", "target", "now", "budget left", "burn", "state"}, rows)
	fmt.Fprintln(out)
	for _, s := range items {
		fmt.Fprintf(out, "%s: %s%s\n", s.Name, s.Reason, consequence(&s))
		if s.Problem != "" {
			fmt.Fprintf(out, "%s: %s\n", s.Name, s.Problem)
		}
	}
}

// objectiveRow is an objective in a line.
func objectiveRow(s *slo.Status) []string {
	promised := share(&s.Objective) + " available over " + s.Window
	if s.Below != "" {
		promised = share(&s.Objective) + " within " + s.Below + " over " + s.Window
	}
	left, burn := "-", "-"
	if s.Budget != nil {
		left = share(&s.Budget.Remaining)
	}
	for _, b := range s.Burns {
		if b.LongBurn != nil {
			burn = strconv.FormatFloat(*b.LongBurn, 'f', 1, 64) + "× in " + b.Long
			break
		}
	}
	state := string(s.State)
	if s.Severity != "" {
		state += " (" + string(s.Severity) + ")"
	}
	return []string{s.Name, promised, strings.Join(s.Targets, ", "), share(s.Recent), left, burn, state}
}

// consequence says what follows from how an objective is kept.
func consequence(s *slo.Status) string {
	switch {
	case !s.Frozen:
		return ""
	case len(s.Rollouts) == 0:
		return "; Rollouts would wait, but none has a route or backend of it"
	}
	return "; Rollouts that wait: " + strings.Join(s.Rollouts, ", ")
}

// share writes a share with as many decimals as it takes to tell it from all.
func share(v *float64) string {
	if v == nil {
		return "-"
	}
	text := strconv.FormatFloat(100**v, 'f', 3, 64)
	return strings.TrimRight(strings.TrimRight(text, "0"), ".") + "%"
}

// ruleFile is a rule file of Prometheus.
type ruleFile struct {
	Groups []ruleFileGroup `json:"groups"`
}

type ruleFileGroup struct {
	Name     string         `json:"name"`
	Interval string         `json:"interval"`
	Rules    []ruleFileRule `json:"rules"`
}

type ruleFileRule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for,omitempty"`
	Keep        string            `json:"keep_firing_for,omitempty"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

func printRules(ctx context.Context, std Streams, files []string) error {
	set, err := read(ctx, std, files)
	if err != nil {
		return err
	}
	groups := slo.Rules(translate.Translate(translate.Input{Set: set}).Objectives)
	if len(groups) == 0 {
		return fmt.Errorf("no ServiceLevelObjective in %s", strings.Join(files, ", "))
	}
	data, err := yaml.Marshal(ruleFileOf(groups))
	if err != nil {
		return err
	}
	_, err = std.Out.Write(data)
	return err
}

func ruleFileOf(groups []model.RuleGroup) ruleFile {
	var file ruleFile
	for _, g := range groups {
		group := ruleFileGroup{Name: g.Name, Interval: seconds(g.Interval)}
		for _, r := range g.Rules {
			rule := ruleFileRule{Alert: r.Name, Expr: r.Expr, Labels: r.Labels, Annotations: r.Annotations}
			if r.For > 0 {
				rule.For = seconds(r.For)
			}
			if r.Keep > 0 {
				rule.Keep = seconds(r.Keep)
			}
			group.Rules = append(group.Rules, rule)
		}
		file.Groups = append(file.Groups, group)
	}
	return file
}

func seconds(d time.Duration) string { return strconv.Itoa(int(d/time.Second)) + "s" }
