// Command worker registers the bots that producers have queued, until it is
// told to stop.
package main

import (
	"os"

	"botfleet/cmd/worker/command"
)

func main() { os.Exit(command.Main(command.Options{})) }
