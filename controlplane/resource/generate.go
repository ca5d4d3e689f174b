package resource

//go:generate go run ./crdgen
