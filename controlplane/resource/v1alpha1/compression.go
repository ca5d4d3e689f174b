package v1alpha1

import "k8s.io/apimachinery/pkg/api/resource"

// Compression says which answers are compressed for clients that ask for it
// (Accept-Encoding). Never compressed are answers that are encoded already, that say
// no-transform, that are parts of something (206) or carry a digest of their content. The
// backend sees what the client asked for and may encode its answers itself. What is
// compressed has no Content-Length and no Accept-Ranges, and its ETag becomes a weak one:
// that still saves sending an answer again, but no longer serves If-Match.
//
// +kubebuilder:validation:MinProperties=1
type Compression struct {
	// Algorithms are zstd, br (Brotli) and gzip in the order of preference, which counts where
	// the client has none. An empty list takes away what a Gateway's policy says.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=3
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, a == b))",message="must not name the same algorithm twice"
	Algorithms []CompressionAlgorithm `json:"algorithms,omitempty"`

	// MinSize is the Content-Length from which an answer is compressed, up to 1Gi; 0: any. An
	// answer of unknown length always is.
	// +optional
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 0 && self <= 1073741824 : isQuantity(self) && quantity(self).compareTo(quantity('0')) >= 0 && quantity(self).compareTo(quantity('1Gi')) <= 0",message="must be between 0 and 1Gi"
	MinSize *resource.Quantity `json:"minSize,omitempty"`

	// Types are the media types that are compressed, in place of the default ones: text/html,
	// text/*, application/*+json, */*+json, or */* for all. A stream of events
	// (text/event-stream) keeps its compressor for as long as it lasts, so that only its full
	// name or */* means it.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Types []MediaType `json:"types,omitempty"`

	// Credentials also compresses answers to requests with credentials (Cookie,
	// Authorization or a client's certificate) and answers that set cookies. Who can have a
	// secret's owner send requests, and put text of his own beside the secret in the answer,
	// can guess it from the answers' sizes (the BREACH attack): switch this on where no answer
	// has both.
	// +optional
	Credentials *bool `json:"credentials,omitempty"`
}

// CompressionAlgorithm is a content coding, by its name in Accept-Encoding.
//
// +kubebuilder:validation:Enum=zstd;br;gzip
type CompressionAlgorithm string

// MediaType is a media type without parameters. In place of the subtype, or of all of it,
// may stand an asterisk, and behind that a suffix.
//
// +kubebuilder:validation:MinLength=3
// +kubebuilder:validation:MaxLength=255
// +kubebuilder:validation:XValidation:rule="self.matches('^([A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*|([A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*|[*])/[*]([+][A-Za-z0-9][A-Za-z0-9!#$&^_.-]*)?)$')",message="must be a media type such as text/html, text/* or */*+json"
type MediaType string
