// Command enqueue is botfleet's enqueue with traces, by the same variables as the
// worker of this module. Only rows that it has queued have traces that begin with
// their submission.
package main

import (
	"os"

	"botfleet/cmd/enqueue/command"
	"botfleet/cmd/traced/internal/export"
)

func main() { os.Exit(command.Main(command.Options{Tracing: export.As("botfleet-enqueue")})) }
