// Keeping the written reference what the code says.

package reference

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// Compare says what of a file is not the reference of a command any more, and how to
// write it anew; with update it writes it. how is the command that does.
func Compare(path string, root *cobra.Command, how string, update bool) error {
	want := Markdown(root, how)
	if update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			return fmt.Errorf("write the reference: %w", err)
		}
		return nil
	}
	is, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the reference: %w", err)
	}
	old, fresh := strings.Split(string(is), "\n"), strings.Split(string(want), "\n")
	for i := range max(len(old), len(fresh)) {
		if a, b := at(old, i), at(fresh, i); a != b {
			return fmt.Errorf("%s, line %d, is\n  %s\nand should be\n  %s\nwrite it anew with: %s", path, i+1, a, b, how)
		}
	}
	return nil
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(nothing)"
}
