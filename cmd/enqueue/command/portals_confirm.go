// Asking a person before something that is not easily undone.

package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"
)

// confirm returns nil when --yes was given or a person at a terminal says yes.
// Elsewhere nobody can be asked, and the answer is no.
func (a *app) confirm(ctx context.Context, question string, yes bool) error {
	if yes {
		return nil
	}
	in, ok := a.std.in.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) || terminal(a.std.err) == 0 {
		return &usageError{question + " Say so with --yes"}
	}
	_, _ = fmt.Fprint(a.std.err, question+" [y/N] ")
	answer := make(chan string, 1)
	go func() { // a terminal's line cannot be given up: the goroutine ends with it, or with the process
		line, _ := bufio.NewReader(in).ReadString('\n') // without a line the answer is no
		answer <- line
	}()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case line := <-answer:
		if s := strings.ToLower(strings.TrimSpace(line)); s == "y" || s == "yes" {
			return nil
		}
	}
	return &exitError{code: exitFailed, err: errNotConfirmed}
}

// errNotConfirmed is a person's no.
var errNotConfirmed = errors.New("nothing was done")
