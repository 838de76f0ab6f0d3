// The reference in cmd/enqueue/README.md is what the commands say themselves.

package command

import (
	"flag"
	"io"
	"strings"
	"testing"

	"botfleet/cmd/internal/reference"
)

var update = flag.Bool("update", false, "write the reference anew")

func TestReference(t *testing.T) {
	root := newRoot(Options{}, nil, stdio{strings.NewReader(""), io.Discard, io.Discard})
	const how = "go test ./cmd/enqueue/command -run Reference -update"
	if err := reference.Compare("../README.md", root, how, *update); err != nil {
		t.Error(err)
	}
}
