package source

import "weir.dev/weir/controlplane/resource"

// List returns the files that paths stand for, in the order in which Files reads them:
// files, and of folders every manifest at any depth. It says which could not be looked at.
func List(paths []string) (files []string, troubles []resource.Diagnostic) {
	s := walk(paths, func(string) {})
	for _, t := range s.troubles {
		troubles = append(troubles, unreadable(t.name, t.err))
	}
	for _, f := range s.files {
		files = append(files, f.name)
	}
	return files, append(troubles, s.barren...)
}

// ReadFile reads a regular file, at most one byte more than resource.MaxFile of it.
func ReadFile(name string) ([]byte, error) { return readRegular(name) }
