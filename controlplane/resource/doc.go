// Package resource is what a source delivers: Gateway API, weir.dev and core Kubernetes
// objects, decoded strictly, validated by the schemas and CEL rules of their CRDs as a
// cluster would, and knowing the position of every field. It knows nothing of where bytes
// come from (source), nor of what objects mean together (translate).
package resource
