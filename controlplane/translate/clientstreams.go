package translate

import (
	"cmp"

	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/model"
)

// streamsSide is what a TrafficPolicy says of streams towards clients.
type streamsSide struct{ maxConcurrent, window, resets *setting[int] }

func (s streamsSide) under(above streamsSide) streamsSide {
	return streamsSide{
		maxConcurrent: cmp.Or(s.maxConcurrent, above.maxConcurrent),
		window:        cmp.Or(s.window, above.window),
		resets:        cmp.Or(s.resets, above.resets),
	}
}

func (s streamsSide) fill(o *model.Origins) model.Streams {
	return model.Streams{
		MaxConcurrent: effective(s.maxConcurrent, defaultStreamsMaxConcurrent, "client.streams.maxConcurrent", o),
		Window:        effective(s.window, defaultStreamsWindow, "client.streams.window", o),
		Resets:        effective(s.resets, defaultStreamsResets, "client.streams.resets", o),
	}
}

// readStreams reads what a policy says of streams towards clients.
func (r *policyReader) readStreams(s *v1alpha1.ClientStreams) {
	v := &r.into.client.streams
	if s.MaxConcurrent != nil {
		v.maxConcurrent = set(r, "client.streams.maxConcurrent", sideClient, int(*s.MaxConcurrent))
	}
	if s.Window != nil {
		v.window = set(r, "client.streams.window", sideClient, int(s.Window.Value()))
	}
	if s.Resets != nil {
		v.resets = set(r, "client.streams.resets", sideClient, int(*s.Resets))
	}
}
