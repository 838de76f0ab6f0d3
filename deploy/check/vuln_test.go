// `make vuln` looks at every module that something is shipped of.

package check

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestVulnLooksAtAllThatIsShipped(t *testing.T) {
	for _, c := range []struct {
		name, does string // the scanner, run in a module
		looks      []string
		fails      bool
	}{
		{"nothing is found", "exit 0", []string{".", "cmd/traced"}, false},
		{"something is found in the first", "[ ! -d cmd ] || exit 3", []string{".", "cmd/traced"}, true},
		{"something is found in the second", "[ -d cmd ] || exit 3", []string{".", "cmd/traced"}, true},
		{"a module cannot be read", "echo 'loading packages'; exit 1", []string{".", "cmd/traced"}, true},
		{"the database is away", "echo 'govulncheck: fetching vulnerabilities: no such host'; exit 1", []string{"."}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			scanner, seen := filepath.Join(dir, "scanner"), filepath.Join(dir, "seen")
			if err := os.WriteFile(scanner, []byte("#!/bin/sh\npwd >>"+seen+"\n"+c.does+"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command("make", "-C", top, "vuln", "VULN="+scanner).CombinedOutput()
			if (err != nil) != c.fails {
				t.Errorf("%v: %s", err, out)
			}
			root, err := filepath.Abs(top)
			if err != nil {
				t.Fatal(err)
			}
			var want strings.Builder
			for _, module := range c.looks {
				want.WriteString(filepath.Join(root, module) + "\n")
			}
			if got := read(t, seen); got != want.String() {
				t.Errorf("looked at\n%swant\n%s", got, want.String())
			}
		})
	}
}
