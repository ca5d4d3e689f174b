// Package source reads the user's configuration and delivers it as whole resource.Sets, one
// at the start and one after every change: from files, later from Git and Kubernetes. It
// keeps the last accepted version of what became wrong, and holds back what looks like an
// accident. It does not know what objects mean to each other; translate does.
package source
