// Memory: how little of it looking an input over may take.

package command

import (
	"context"
	"runtime/debug"

	"botfleet/cmd/internal/intake"
)

// frugalGC collects garbage when the heap has grown by 40 %, not by Go's usual
// 100 %. What is remembered of a million rows is some 45 MB, and the double of
// that would be most of the 100 MB that a command may take.
const frugalGC = 40

// lookOver is intake.Inspect with little garbage around it.
func lookOver(ctx context.Context, in rows, dir intake.Portals, o intake.Options) (*intake.Report, error) {
	usual := debug.SetGCPercent(frugalGC)
	rep, err := intake.Inspect(ctx, in, dir, o)
	// What was remembered is not needed any more, and must not count as what
	// the heap may double from.
	debug.FreeOSMemory()
	debug.SetGCPercent(usual)
	return rep, err
}
