package resource

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
)

// The core kinds have no schema to validate by: what a cluster checks by hand is checked
// here by hand, for the fields that Weir reads, and its defaults are filled in.

func completeService(v metav1.Object, report reportFunc) {
	spec := &v.(*corev1.Service).Spec
	if spec.Type == "" {
		spec.Type = corev1.ServiceTypeClusterIP
	}
	types := []corev1.ServiceType{
		corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeExternalName,
	}
	if !slices.Contains(types, spec.Type) {
		report("spec.type", fmt.Sprintf("unsupported value %q; expected ClusterIP, NodePort, LoadBalancer or ExternalName", spec.Type))
	}
	if spec.ClusterIP != "" && spec.ClusterIP != corev1.ClusterIPNone {
		checkIP("spec.clusterIP", spec.ClusterIP, report)
	}
	if spec.Type == corev1.ServiceTypeExternalName {
		for _, message := range validation.IsDNS1123Subdomain(spec.ExternalName) {
			report("spec.externalName", message)
		}
	} else if len(spec.Ports) == 0 && spec.ClusterIP != corev1.ClusterIPNone {
		report("spec.ports", "required: a Service has at least one port")
	}
	names, numbers := map[string]bool{}, map[string]bool{}
	for i := range spec.Ports {
		port, path := &spec.Ports[i], fmt.Sprintf("spec.ports[%d]", i)
		if port.Protocol == "" {
			port.Protocol = corev1.ProtocolTCP
		}
		if port.TargetPort == (intstr.IntOrString{}) || port.TargetPort == intstr.FromString("") {
			port.TargetPort = intstr.FromInt32(port.Port)
		}
		checkPort(path+".port", port.Port, report)
		checkProtocol(path+".protocol", port.Protocol, report)
		checkTarget(path+".targetPort", port.TargetPort, report)
		checkPortName(path+".name", port.Name, len(spec.Ports) > 1, names, report)
		number := fmt.Sprint(port.Port, port.Protocol)
		if numbers[number] {
			report(path+".port", "duplicate value")
		}
		numbers[number] = true
	}
}

func completeEndpointSlice(v metav1.Object, report reportFunc) {
	slice := v.(*discoveryv1.EndpointSlice)
	var is func(netip.Addr) bool
	switch slice.AddressType {
	case discoveryv1.AddressTypeIPv4:
		is = netip.Addr.Is4
	case discoveryv1.AddressTypeIPv6:
		is = netip.Addr.Is6
	case discoveryv1.AddressTypeFQDN:
	case "":
		report("addressType", "required: IPv4, IPv6 or FQDN")
	default:
		report("addressType", fmt.Sprintf("unsupported value %q; expected IPv4, IPv6 or FQDN", slice.AddressType))
	}
	if len(slice.Endpoints) > 1000 {
		report("endpoints", "expected at most 1000 endpoints")
	}
	for i, e := range slice.Endpoints {
		path := fmt.Sprintf("endpoints[%d].addresses", i)
		if len(e.Addresses) == 0 {
			report(path, "required: at least one address")
		}
		for n, text := range e.Addresses {
			if address, err := netip.ParseAddr(text); is != nil && (err != nil || !is(address)) {
				report(fmt.Sprintf("%s[%d]", path, n), fmt.Sprintf("%q: expected an %s address", text, slice.AddressType))
			}
		}
	}
	names := map[string]bool{}
	for i := range slice.Ports {
		port, path := &slice.Ports[i], fmt.Sprintf("ports[%d]", i)
		if port.Protocol == nil {
			port.Protocol = new(corev1.ProtocolTCP)
		}
		if port.Name == nil {
			port.Name = new("")
		}
		checkProtocol(path+".protocol", *port.Protocol, report)
		checkPortName(path+".name", *port.Name, false, names, report)
		if port.Port != nil {
			checkPort(path+".port", *port.Port, report)
		}
	}
}

func completeSecret(v metav1.Object, report reportFunc) {
	secret := v.(*corev1.Secret)
	if secret.Type == "" {
		secret.Type = corev1.SecretTypeOpaque
	}
	if len(secret.StringData) > 0 && secret.Data == nil {
		secret.Data = map[string][]byte{}
	}
	plain := secret.StringData
	for name, text := range plain {
		secret.Data[name] = []byte(text)
	}
	secret.StringData = nil
	for name := range secret.Data {
		checkDataKey("data", name, report)
	}
	if secret.Type == corev1.SecretTypeTLS {
		for _, name := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
			if _, ok := secret.Data[name]; !ok {
				report("data."+name, "required: the type is kubernetes.io/tls")
				return
			}
		}
		checkKeyPair(secret, func(entry string) string {
			if _, ok := plain[entry]; ok {
				return "stringData." + entry
			}
			return "data." + entry
		}, report)
	}
}

func completeConfigMap(v metav1.Object, report reportFunc) {
	configMap := v.(*corev1.ConfigMap)
	for name := range configMap.Data {
		checkDataKey("data", name, report)
		if _, twice := configMap.BinaryData[name]; twice {
			report("binaryData."+name, "duplicate value: data has it too")
		}
	}
	for name := range configMap.BinaryData {
		checkDataKey("binaryData", name, report)
	}
	// By this name every reference to authorities finds them. A text without any is a mistake
	// that must not take the place of what was right.
	if text := configMap.Data[AuthoritiesKey]; strings.TrimSpace(text) != "" {
		if _, err := ParseAuthorities([]byte(text)); err != nil {
			report("data."+AuthoritiesKey, err.Error())
		}
	}
}

// completeNamespace adds the label that a cluster gives every namespace.
func completeNamespace(v metav1.Object, _ reportFunc) {
	labels := v.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[corev1.LabelMetadataName] = v.GetName()
	v.SetLabels(labels)
}

// checkBase64 reports the values of a Secret or ConfigMap that are not base64, before
// decoding them loses where they stand. Values never appear in messages.
func checkBase64(object map[string]any, field string, report reportFunc) {
	values, _ := object[field].(map[string]any)
	for name, v := range values {
		if s, ok := v.(string); ok {
			if _, err := base64.StdEncoding.DecodeString(s); err != nil {
				report(field+"."+name, notBase64)
			}
		}
	}
}

func checkSecretText(object map[string]any, report reportFunc) { checkBase64(object, "data", report) }

func checkConfigMapText(object map[string]any, report reportFunc) {
	checkBase64(object, "binaryData", report)
}

func checkDataKey(field, name string, report reportFunc) {
	for _, message := range validation.IsConfigMapKey(name) {
		report(field+"."+name, message)
	}
}

func checkIP(path, text string, report reportFunc) {
	if _, err := netip.ParseAddr(text); err != nil {
		report(path, fmt.Sprintf("%q: expected an IP address", text))
	}
}

func checkPort(path string, port int32, report reportFunc) {
	if port < 1 || port > 65535 {
		report(path, fmt.Sprintf("%d: expected a port between 1 and 65535", port))
	}
}

func checkProtocol(path string, p corev1.Protocol, report reportFunc) {
	if p != corev1.ProtocolTCP && p != corev1.ProtocolUDP && p != corev1.ProtocolSCTP {
		report(path, fmt.Sprintf("unsupported value %q; expected TCP, UDP or SCTP", p))
	}
}

func checkTarget(path string, port intstr.IntOrString, report reportFunc) {
	if port.Type == intstr.Int {
		checkPort(path, port.IntVal, report)
		return
	}
	for _, message := range validation.IsValidPortName(port.StrVal) {
		report(path, message)
	}
}

// checkPortName checks one name of a list of ports, all of which must differ.
func checkPortName(path, name string, required bool, names map[string]bool, report reportFunc) {
	switch {
	case name == "" && required:
		report(path, "required: several ports need names")
		return
	case name != "":
		for _, message := range validation.IsDNS1123Label(name) {
			report(path, message)
		}
	}
	if names[name] {
		report(path, "duplicate value")
	}
	names[name] = true
}
