//go:build race

package guard

// racing says that simulations take ten times as long, so that there are fewer.
const racing = true
