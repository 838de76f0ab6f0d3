// What the authorization server has seen.

package sandbox

import (
	"maps"
	"slices"
)

// authMethod is what token requests are called in logs, and what a [Fault]
// names in Methods to strike them.
const authMethod = "oauth/token"

// AuthStats are counters of the authorization server: in all, or for one portal
// (then without the requests whose refresh token named none).
type AuthStats struct {
	Requests  int
	Refreshes int // pairs traded for new ones, also where the answer was lost
	Refused   int // requests answered with an error
	Reused    int // refused because the refresh token had been traded already
	Lost      int // trades whose answer a fault spoiled, or whose client had left
	Errors    map[string]int
	Faults    map[FaultKind]int
	// MaxConcurrent is the most requests in work at once.
	MaxConcurrent int
}

func (s AuthStats) clone() AuthStats {
	s.Errors, s.Faults = maps.Clone(s.Errors), maps.Clone(s.Faults)
	return s
}

// refused counts an error answer. The maps come when they are needed: most of
// ten thousand portals never need them.
func (s *AuthStats) refused(code string) {
	s.Refused++
	if s.Errors == nil {
		s.Errors = map[string]int{}
	}
	bump(s.Errors, code)
}

func (s *AuthStats) struck(kind FaultKind) {
	if s.Faults == nil {
		s.Faults = map[FaultKind]int{}
	}
	s.Faults[kind]++
}

// Stats returns the counters so far, of all portals.
func (a *AuthServer) Stats() AuthStats {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stats.clone()
}

// AuthStats returns the authorization server's counters for this portal.
func (st *PortalState) AuthStats() AuthStats {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.grant.stats.clone()
}

// Requests returns the last token requests that are over, in the order they
// ended. Credential is "portal NAME" where the refresh token told.
func (a *AuthServer) Requests() []RequestLog {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.log.all()
}

// note records a violation that no portal has seen.
func (a *AuthServer) note(v Violation) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.broken++
	a.violations.add(v)
}

// Violations returns the last rules broken anywhere in the sandbox, oldest
// first: towards portals, towards the authorization server, and secrets sent to
// hosts that are neither.
func (s *Sandbox) Violations() []Violation {
	s.auth.mu.Lock()
	out := s.auth.violations.all()
	s.auth.mu.Unlock()
	for _, st := range s.Portals() {
		out = append(out, st.Violations()...)
	}
	slices.SortStableFunc(out, func(a, b Violation) int { return a.At.Compare(b.At) })
	return out
}
