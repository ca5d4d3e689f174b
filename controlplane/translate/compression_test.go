package translate

import (
	"bytes"
	"os"
	"slices"
	"testing"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/model"
)

// TestCompressionPage reads the policy that docs/compression.md shows.
func TestCompressionPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/compression.md")
	if err != nil {
		t.Fatal(err)
	}
	_, page, _ = bytes.Cut(page, []byte("```yaml\n"))
	example, _, found := bytes.Cut(page, []byte("```"))
	var decoder resource.Decoder
	objects, diagnostics := decoder.Decode("page.yaml", example)
	if !found || len(objects) != 1 || len(diagnostics) > 0 {
		t.Fatalf("%d objects, %v", len(objects), diagnostics)
	}
	policy, ok := objects[0].Value.(*v1alpha1.TrafficPolicy)
	if !ok {
		t.Fatalf("it shows a %T", objects[0].Value)
	}
	var route model.Route
	fillRequest(&route, readPolicy(objects[0], policy).request, requestSide{})
	if c := route.Compression; c == nil || !slices.Equal(c.Algorithms, []model.Coding{model.CodingZstd, model.CodingBrotli, model.CodingGzip}) {
		t.Errorf("it compresses with %+v", c)
	}
}
