package policy

import "bytes"

// X-Weir-Arm tells the proxies of a chain which arm the first of them has chosen of each release
// that it knows, so that those behind it that hold the same Rollout choose the same one:
//
//	X-Weir-Arm: shop/checkout=canary, shop/search=stable

// maxArms bounds what is passed on of other releases, in bytes: about thirty of them.
const maxArms = 1 << 10

// The arms that X-Weir-Arm names.
const (
	ArmStable = "stable"
	ArmCanary = "canary"
)

// ParseArm returns what a value of X-Weir-Arm says of a release, empty for nothing: the first that it says.
func ParseArm(value []byte, release string) []byte {
	for len(value) > 0 {
		var element []byte
		element, value, _ = bytes.Cut(value, []byte{','})
		if name, arm, ok := bytes.Cut(trim(element), []byte{'='}); ok && string(name) == release {
			return arm
		}
	}
	return nil
}

// AppendArms appends what a value of X-Weir-Arm says of other releases than one, with a comma and a space
// behind each, to dst, as far as that is not longer than maxArms then.
func AppendArms(dst, value []byte, but string) []byte {
	for len(value) > 0 {
		var element []byte
		element, value, _ = bytes.Cut(value, []byte{','})
		element = trim(element)
		name, _, ok := bytes.Cut(element, []byte{'='})
		if !ok || string(name) == but || len(dst)+len(element) > maxArms {
			continue
		}
		dst = append(append(dst, element...), ", "...)
	}
	return dst
}
