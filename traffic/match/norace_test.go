//go:build !race

package match

const racing = false
