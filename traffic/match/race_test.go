//go:build race

package match

// racing says that sync.Pool forgets at random, so that what it saves is allocated.
const racing = true
