//go:build !race

package guard

const racing = false
