// Why a portal is closed although its limits would allow a request: it does
// not answer, it refused all the same, or a person must act.

package ratelimit

import "time"

// A portal is silent after three requests in a row without an answer. It is
// then probed with one request of one row at a time.
const (
	silentAfter  = 3
	silenceFirst = 5 * time.Second
	silenceMost  = 5 * time.Minute
	// silenceForgotten is how long after the last that was heard of it, or
	// rather was not, a silence counts for nothing.
	silenceForgotten = time.Hour
)

// After a refusal for the request rate a portal is closed for so long, doubling.
const (
	refusalFirst = time.Second
	refusalMost  = 30 * time.Second
)

// The rows of a held or silent portal come back after as long as that has lasted,
// between these: about log2 of the wait in all.
const (
	heldLeast = 10 * time.Second
	heldMost  = 15 * time.Minute
)

// doubled is first × 2ⁿ, at most most.
func doubled(first, most time.Duration, n int) time.Duration {
	d := first
	for ; n > 0 && d < most; n-- {
		d *= 2
	}
	return min(d, most)
}

// heldFor is how long rows of a portal that has been held for elapsed stay away.
func heldFor(elapsed time.Duration) time.Duration {
	return max(heldLeast, min(elapsed, heldMost))
}

// silence is what is known of a portal's not answering.
type silence struct {
	misses int       // requests without an answer in a row
	last   time.Time // of them
	since  time.Time // when the portal was found silent; zero while it is not
	until  time.Time // when it may be probed next
	probes int       // failed since
	probe  uint64    // ticket of the probe on its way; 0 = none
	booked bool      // somebody was told to come for the next probe
}

// parked is when rows come back of which none will be the next probe.
func (s *silence) parked(now time.Time) time.Time {
	return later(s.until, now.Add(heldFor(now.Sub(s.since))))
}

// refresh forgets a silence that is too long ago.
func (s *silence) refresh(now time.Time) {
	last := s.last
	if s.until.After(last) {
		last = s.until
	}
	if s.misses > 0 && s.probe == 0 && now.Sub(last) >= silenceForgotten {
		*s = silence{}
	}
}

func (s *silence) active() bool { return !s.since.IsZero() }

// miss counts a request without an answer. While the portal is silent only its
// probe tells something new: other requests were sent before.
func (s *silence) miss(now time.Time, probe bool) {
	switch {
	case !s.active():
		s.misses++
		s.last = now
		if s.misses >= silentAfter {
			s.since, s.until, s.booked = now, now.Add(silenceFirst), false
		}
	case probe:
		s.probes++
		s.booked = false
		s.until = now.Add(doubled(silenceFirst, silenceMost, s.probes))
	}
}

// silentReason is what a person reads of a silent portal.
const silentReason = "the portal does not answer"

func (s *silence) hold() *Hold {
	return &Hold{Reason: silentReason, Since: s.since, Probes: s.probes}
}

// refusal is what is known of refusals for the request rate.
type refusal struct {
	until    time.Time
	failures int // in a row
	// count numbers the refusals. A request sent before the last one learned
	// nothing from it: its own refusal is the same incident.
	count uint64
}

// next closes the portal once more.
func (f *refusal) next(now time.Time) {
	f.until = now.Add(doubled(refusalFirst, refusalMost, f.failures))
	f.failures++
	f.count++
}

// closure shuts one operating budget after a refusal, until a probe is answered.
type closure struct {
	until time.Time // zero = open
	probe uint64    // ticket of the probe on its way; 0 = none
}

func (c *closure) shut() bool { return !c.until.IsZero() }

// holdReason is what a person reads of a portal that blocked its caller.
func holdReason(code, text string) string {
	const most = 500 // bytes; a portal's text is not ours to trust
	reason := code
	switch {
	case code == "" && text == "":
		reason = "blocked by the portal"
	case code == "":
		reason = text
	case text != "":
		reason = code + ": " + text
	}
	if len(reason) <= most {
		return reason
	}
	cut := 0
	for i := range reason {
		if i > most {
			break
		}
		cut = i
	}
	return reason[:cut] + "…"
}
