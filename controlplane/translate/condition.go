package translate

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"weir.dev/weir/controlplane/resource"
)

// maxMessage is the most that a condition's message holds, in bytes.
const maxMessage = 1024

// condition builds a condition with types and reasons of any of upstream's string types.
func condition[T, R ~string](kind T, holds bool, reason R, message string, generation int64) metav1.Condition {
	status := metav1.ConditionFalse
	if holds {
		status = metav1.ConditionTrue
	}
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage-3], "") + "..."
	}
	return metav1.Condition{
		Type: string(kind), Status: status, Reason: string(reason),
		Message: message, ObservedGeneration: generation,
	}
}

// problemText tells the problems of a quarantined version in one line.
func problemText(problems []resource.Diagnostic) string {
	texts := make([]string, 0, len(problems))
	for _, p := range problems {
		texts = append(texts, strings.TrimPrefix(p.String(), p.At.String()+": "+p.Object.String()+": "))
	}
	return strings.Join(texts, "; ")
}

// retainedText says that an older version is in force, empty if the newest one is.
func retainedText(o *resource.Object) string {
	if len(o.Problems) == 0 {
		return ""
	}
	return "the last accepted version stays in force: " + problemText(o.Problems)
}

// absenceText says that an object is not there, or never had a version that counts.
func absenceText(o *resource.Object, k resource.Key) string {
	if o != nil {
		return k.String() + " is wrong and was never accepted"
	}
	return "there is no " + k.String()
}
