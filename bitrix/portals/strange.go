// Limits and credentials that are possible, but hardly meant.

package portals

import (
	"fmt"

	"botfleet/ratelimit"
)

// What makes a limit strange.
const (
	// strangeRate is twenty times the fastest plan's: 5 requests/s on
	// Enterprise, public REST limits page.
	strangeRate = 100
	// slowRate: a request in so many seconds makes every wait minutes long.
	slowRate = 0.1
	// strangeHeadroom leaves a tenth.
	strangeHeadroom = 0.9
)

// Strange names what is possible in portals' limits and credentials, but hardly meant.
// [Read] and [Registry.Import] take them all the same.
func Strange(entries []Entry) []Problem {
	var all []Problem
	for i := range entries {
		e := &entries[i]
		for _, p := range strangeLimits(e.Limits) {
			all = append(all, Problem{File: e.File, Line: e.Line, Field: p.field, Text: p.text})
		}
		if !e.Access.IsZero() && !e.Access.Webhook() && e.RefreshToken.Reveal() == "" {
			all = append(all, Problem{File: e.File, Line: e.Line, Field: "refresh_token",
				Text: "is missing: the access token ends an hour after it was given, and cannot be renewed"})
		}
	}
	return all
}

func strangeLimits(l ratelimit.Limits) (all []fieldProblem) {
	add := func(strange bool, field, text string, args ...any) {
		if strange {
			all = append(all, fieldProblem{field, fmt.Sprintf(text, args...)})
		}
	}
	add(l.Rate > strangeRate, "rate", "%v requests a second are far more than any Bitrix24 plan allows (2 or 5): a portal that takes fewer answers 503", l.Rate)
	add(l.Rate*(1-l.Headroom) < slowRate, "rate", "leaves one request in %.0f s", 1/(l.Rate*(1-l.Headroom)))
	add(l.Headroom >= strangeHeadroom, "headroom", "%v leaves %.2g requests a second", l.Headroom, l.Rate*(1-l.Headroom))
	add(float64(l.Burst)*(1-l.Headroom) < 2, "burst", "of one request: each waits for the one before, and for the rate")
	add(l.Operating > l.OperatingWindow, "operating_limit",
		"of %v is more than operating_window of %v: only requests side by side can use that up; a portal that counts less answers 429", l.Operating, l.OperatingWindow)
	add(l.Operating > 0 && l.Operating < l.OperatingWindow/100, "operating_limit",
		"of %v is less than a hundredth of operating_window of %v: is it in seconds?", l.Operating, l.OperatingWindow)
	return all
}
