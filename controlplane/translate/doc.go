// Package translate turns a resource.Set into what a data plane serves: a model.Snapshot,
// the status of every object and the diagnostics that only show when objects meet. It is
// pure: no clock, no files, no network, and equal sets give equal results whatever their
// order and whatever the Memo remembers. It never sees a request, and never a knob.
package translate
