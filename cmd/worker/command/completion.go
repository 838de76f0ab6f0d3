// What shells may offer on the command line of worker.

package command

import (
	"github.com/spf13/cobra"

	"botfleet/cmd/internal/completion"
)

// complete adds the completion command, and says what options may be.
func complete(cmd *cobra.Command) {
	cmd.AddCommand(completion.Command("worker"))
	completion.Fill(cmd, completion.Settings())
}
