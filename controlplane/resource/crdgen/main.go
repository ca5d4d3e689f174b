// Command crdgen writes the CRDs that package resource embeds, into controlplane/resource/crds:
// upstream's experimental channel out of the gateway-api module, and ours from the types in
// v1alpha1 by controller-gen. Beside each CRD in YAML, for clusters and reference pages, stands
// the same without descriptions in JSON, which the binary embeds: it parses ten times as fast.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

// upstream are the CRDs of the kinds we serve.
var upstream = []string{
	"gatewayclasses", "gateways", "listenersets",
	"httproutes", "grpcroutes", "tlsroutes", "tcproutes", "udproutes",
	"referencegrants", "backendtlspolicies",
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "crdgen:", err)
		os.Exit(1)
	}
}

// run is started by go generate in the folder of package resource.
func run() error {
	if err := os.MkdirAll("crds", 0o755); err != nil {
		return err
	}
	old, err := filepath.Glob("crds/[a-z]*")
	if err != nil {
		return err
	}
	for _, file := range old {
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	if err := copyUpstream(); err != nil {
		return err
	}
	if err := generateOurs(); err != nil {
		return err
	}
	files, err := filepath.Glob("crds/*.yaml")
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := compact(file); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

func copyUpstream() error {
	dir, err := goOutput("list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api")
	if err != nil {
		return err
	}
	for _, plural := range upstream {
		name := "gateway.networking.k8s.io_" + plural + ".yaml"
		data, err := os.ReadFile(filepath.Join(dir, "config/crd/experimental", name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join("crds", name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func generateOurs() error {
	root, err := goOutput("list", "-m", "-f", "{{.Dir}}", "weir.dev/weir")
	if err != nil {
		return err
	}
	_, err = goOutput("tool", "-modfile="+filepath.Join(root, "tools.mod"), "controller-gen",
		"crd:crdVersions=v1", "paths=./v1alpha1", "output:crd:dir=crds")
	return err
}

// goOutput runs the go command and returns its output.
func goOutput(args ...string) (string, error) {
	var out, errs bytes.Buffer
	cmd := exec.Command("go", args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, errs.Bytes())
	}
	return strings.TrimSpace(out.String()), nil
}

// compact writes a CRD without its descriptions, as JSON.
func compact(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var crd map[string]any
	if err := yaml.Unmarshal(data, &crd); err != nil {
		return err
	}
	dropDescriptions(crd)
	out, err := json.Marshal(crd)
	if err != nil {
		return err
	}
	return os.WriteFile(strings.TrimSuffix(file, ".yaml")+".json", out, 0o644)
}

// dropDescriptions removes the description of every schema under v. A property that is
// called description has an object for its schema, not a string.
func dropDescriptions(v any) {
	switch v := v.(type) {
	case map[string]any:
		if _, ok := v["description"].(string); ok {
			delete(v, "description")
		}
		for _, child := range v {
			dropDescriptions(child)
		}
	case []any:
		for _, child := range v {
			dropDescriptions(child)
		}
	}
}
