package translate

import (
	"cmp"
	"strings"

	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/model"
)

// compressionSide is the request side's part on compression.
type compressionSide struct {
	algorithms  *setting[[]model.Coding]
	minSize     *setting[int64]
	types       *setting[[]string]
	credentials *setting[bool]
}

// readCompression reads which answers a policy has compressed.
func (r *policyReader) readCompression(c *v1alpha1.Compression) {
	const path = "compression."
	v := &r.into.request.compression
	if c.Algorithms != nil {
		v.algorithms = set(r, path+"algorithms", sideRequest, asStrings[model.Coding](c.Algorithms))
	}
	if c.MinSize != nil {
		v.minSize = set(r, path+"minSize", sideRequest, c.MinSize.Value())
	}
	if c.Types != nil {
		types := asStrings[string](c.Types)
		for i := range types {
			types[i] = strings.ToLower(types[i])
		}
		v.types = set(r, path+"types", sideRequest, types)
	}
	if c.Credentials != nil {
		v.credentials = set(r, path+"credentials", sideRequest, *c.Credentials)
	}
}

// asStrings returns a list as one of another kind of string.
func asStrings[To, From ~string](list []From) []To {
	out := make([]To, len(list))
	for i, s := range list {
		out[i] = To(s)
	}
	return out
}

func (c compressionSide) under(above compressionSide) compressionSide {
	return compressionSide{
		algorithms:  cmp.Or(c.algorithms, above.algorithms),
		minSize:     cmp.Or(c.minSize, above.minSize),
		types:       cmp.Or(c.types, above.types),
		credentials: cmp.Or(c.credentials, above.credentials),
	}
}

// fillCompression says which answers of a route are compressed, and who said so. Without an
// algorithm nothing is, whatever else is set.
func fillCompression(r *model.Route, s compressionSide) {
	const path = "compression."
	algorithms := effective(s.algorithms, nil, path+"algorithms", &r.Origins)
	if len(algorithms) == 0 {
		return
	}
	r.Compression = &model.Compression{
		Algorithms:  algorithms,
		MinSize:     effective(s.minSize, defaultCompressionMinSize, path+"minSize", &r.Origins),
		Types:       effective(s.types, defaultCompressionTypes, path+"types", &r.Origins),
		Credentials: effective(s.credentials, defaultCompressionCredentials, path+"credentials", &r.Origins),
	}
}
