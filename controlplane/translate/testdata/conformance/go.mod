// Module conformance pins upstream's conformance suite, whose manifests the tests of package
// translate read. It is no dependency: nothing of its Go code is built.
module weir.dev/weir/controlplane/translate/testdata/conformance

go 1.26.0

require sigs.k8s.io/gateway-api/conformance v1.6.3
