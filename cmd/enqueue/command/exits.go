// What the exit statuses of the commands mean, as their help texts say it.

package command

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

const exitHelp = `Exit status (each command's own help says what it means there):
  0    every row is registered; whatever was asked for is done
  1    it could not be done: usage, connection, configuration
  2    done, but rows were refused or are dead, or something is not as it should be
  3    the input was refused, and nothing was queued
  130  interrupted`

// exits are what 0, 2 and 3 mean. A command that never ends with a status has no
// words for it.
type exits struct{ done, unfinished, refused string }

// exitsOf are those of the commands that do not say it in their own texts.
func exitsOf() map[string]exits {
	const refused = "the input was refused, and nothing was queued"
	return map[string]exits{
		"run":         {"every row is registered", "done, but rows were refused or are dead", refused},
		"check":       {"every row is valid", "", "rows are invalid, or the file cannot be read as rows"},
		"submit":      {"every row is queued; with --wait: registered", "done, but rows were refused; with --wait: or are dead", refused},
		"status":      {"shown, however the run is", "", ""},
		"results":     {"written, whatever the rows' outcomes are", "", ""},
		"dead list":   {"written, also when no row is dead", "", ""},
		"dead export": {"written, also when no row is dead", "", ""},
		"dead retry":  {"every chosen row is queued", "done, but some rows could not be queued and stay dead", ""},
		"dead prune":  {"deleted, also where there was nothing", "", ""},
		"cancel":      {"no row that was meant waits any more", "done, but rows are in work, or the producer may still be adding", ""},
		"doctor":      {"nothing is wrong; there may be warnings", "something is wrong", ""},
	}
}

// explainExits adds them to the help texts.
func explainExits(root *cobra.Command) {
	for path, e := range exitsOf() {
		if c, _, err := root.Find(strings.Fields(path)); err == nil {
			c.Long += "\n\n" + e.text()
		}
	}
}

func (e exits) text() string {
	var b strings.Builder
	b.WriteString("Exit status:\n")
	say := func(status int, meaning string) {
		if meaning != "" {
			_, _ = fmt.Fprintf(&b, "  %-3d  %s\n", status, meaning)
		}
	}
	say(exitDone, e.done)
	say(exitFailed, "it could not be done: usage, connection, configuration")
	say(exitUnfinished, e.unfinished)
	say(exitRefused, e.refused)
	say(exitInterrupted, "interrupted")
	return strings.TrimSpace(b.String())
}
