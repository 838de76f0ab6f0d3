// Command enqueue registers chat bots from files: it checks them, queues them,
// follows them, and, with run, does the whole job in one process.
package main

import (
	"os"

	"botfleet/cmd/enqueue/command"
)

func main() { os.Exit(command.Main(command.Options{})) }
