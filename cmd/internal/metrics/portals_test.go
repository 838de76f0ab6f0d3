// What the registry tells.

package metrics

import (
	"context"
	"errors"
	"testing"
)

// someKnown are portals of which some are held; below 0 nobody knows.
type someKnown struct{ all, held int }

func (p someKnown) Count(context.Context) (int, error) { return counted(p.all) }

func (p someKnown) CountHeld(context.Context) (int, error) { return counted(p.held) }

func counted(n int) (int, error) {
	if n < 0 {
		return 0, errors.New("nobody knows")
	}
	return n, nil
}

func TestThePortalsThatAreKnown(t *testing.T) {
	says(t, scrape(t, made(t, Sources{Portals: someKnown{all: 10, held: 3}})),
		`botfleet_portals{state="open"} 7`, `botfleet_portals{state="held"} 3`)
	says(t, scrape(t, made(t, Sources{Portals: someKnown{all: 2, held: 3}})), // one was removed between the questions
		`botfleet_portals{state="open"} 0`, `botfleet_portals{state="held"} 3`)
	for _, p := range []someKnown{{all: -1}, {held: -1}} {
		m := made(t, Sources{Portals: p})
		if text := scrape(t, m); family(text, "botfleet_portals{") != "" || errorsOf(t, m, "portals") != 1 {
			t.Errorf("%+v: %d errors", p, errorsOf(t, m, "portals"))
		}
	}
}
