// The reference in cmd/worker/README.md is what the command says itself.

package command

import (
	"flag"
	"io"
	"testing"

	"botfleet/cmd/internal/reference"
)

var update = flag.Bool("update", false, "write the reference anew")

func TestReference(t *testing.T) {
	const how = "go test ./cmd/worker/command -run Reference -update"
	if err := reference.Compare("../README.md", Options{}.newCommand(nil, nil, io.Discard, io.Discard), how, *update); err != nil {
		t.Error(err)
	}
}
