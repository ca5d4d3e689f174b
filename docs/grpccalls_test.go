package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
)

// TestGRPCRetries attaches the policy of grpc.md to its route.
func TestGRPCRetries(t *testing.T) {
	page, err := os.ReadFile("grpc.md")
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, block := range regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindAllSubmatch(page, -1) {
		text.Write(block[1])
		text.WriteString("---\n")
	}
	text.WriteString(`apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: weir, listeners: [{name: http, port: 8080, protocol: HTTP}]}
`)
	var decoder resource.Decoder
	objects, found := decoder.Decode("shop.yaml", []byte(text.String()))
	for _, d := range found {
		t.Error(d)
	}
	out := translate.Translate(translate.Input{Set: resource.NewSet(objects, nil)})
	retrying := 0
	for _, table := range out.Snapshot.RouteTables {
		for _, e := range table.Entries {
			if r := e.Route.Retry; r != nil && r.Attempts == 2 && len(r.GRPCCodes) == 1 && r.GRPCCodes[0] == model.GRPCUnavailable {
				retrying++
			}
		}
	}
	if retrying != 3 {
		t.Errorf("%d rules retry", retrying)
	}
	for code := range model.GRPCCodes { // the page names those that count against a host
		sentence := regexp.MustCompile(`(?s)Five codes say.*?\.`).Find(page)
		if named := regexp.MustCompile(`\b` + code.String() + `\b`).Match(sentence); named != code.Faulty() {
			t.Errorf("%v: named %v, counts %v", code, named, code.Faulty())
		}
	}
}
