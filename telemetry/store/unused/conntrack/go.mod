// In the place of a module whose code this program never calls: see telemetry/store/unused.
module github.com/mwitkow/go-conntrack

go 1.26.0
