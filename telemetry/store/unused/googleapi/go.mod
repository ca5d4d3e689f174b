// In the place of a module whose code this program never calls: see telemetry/store/unused.
module google.golang.org/api

go 1.26.0
