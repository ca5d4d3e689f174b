// Package expression compiles the CEL expressions of policies and evaluates them against one
// request at a time, for both planes: the control plane to judge them, the data plane to run
// them. What an expression sees it asks for when it needs it, so that nothing is converted in
// advance; how long it may take is bounded before it runs. It does no I/O, knows no policy and
// no HTTP; what a result means is its caller's business.
package expression
