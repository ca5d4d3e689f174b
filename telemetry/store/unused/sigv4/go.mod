// In the place of a module whose code this program never calls: see telemetry/store/unused.
module github.com/prometheus/sigv4

go 1.26.0
