package v1alpha1

import "k8s.io/apimachinery/pkg/api/resource"

// ClientStreams bounds what one connection of HTTP/2 or HTTP/3 may have a listener do. New
// connections follow a change; those that are open keep what they were told.
//
// +kubebuilder:validation:MinProperties=1
type ClientStreams struct {
	// MaxConcurrent is how many requests a connection has at once, 1 to 10000. Further ones wait
	// at the client, which is told the number, or are refused before anything is done.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	MaxConcurrent *int32 `json:"maxConcurrent,omitempty"`

	// Window is how much of a request's body a client may send ahead of who reads it, from 16Ki to
	// 16Mi. A body that is read fast gets four times that. All bodies of a connection together may
	// have sixteen times the window ahead with HTTP/2, and sixty-four times with HTTP/3, where heads
	// count, too: so much memory each connection can take.
	// +optional
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 16384 && self <= 16777216 : isQuantity(self) && quantity(self).compareTo(quantity('16Ki')) >= 0 && quantity(self).compareTo(quantity('16Mi')) <= 0",message="must be between 16Ki and 16Mi"
	Window *resource.Quantity `json:"window,omitempty"`

	// Resets is how many requests a connection may begin and give up at once, 20 to 100000, and a
	// tenth of it is how many a second after that. Frames that do no work (PING, SETTINGS, empty
	// DATA and the like) count as parts of one. Beyond it the connection is ended with
	// ENHANCE_YOUR_CALM, or H3_EXCESSIVE_LOAD.
	// +optional
	// +kubebuilder:validation:Minimum=20
	// +kubebuilder:validation:Maximum=100000
	Resets *int32 `json:"resets,omitempty"`
}
