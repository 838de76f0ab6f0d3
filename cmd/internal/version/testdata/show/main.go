// Command show prints the version of its build, for the tests that build it.
package main

import (
	"os"

	"botfleet/cmd/internal/version"
)

func main() {
	_, _ = os.Stdout.WriteString(version.String() + "\n" + version.Long() + "\n")
}
