// The portals of a sandbox: added, found, renamed, counted.

package sandbox

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// errUnknownHost means that no portal answers to a name.
var errUnknownHost = errors.New("sandbox: unknown host")

// AddPortal adds a portal. A portal of the same name is replaced, and a
// configuration that cannot be meant is not added: the result is nil then, and
// [Sandbox.Add] says why.
func (s *Sandbox) AddPortal(p Portal) *PortalState {
	st, err := s.Add(p)
	if err != nil {
		return nil
	}
	return st
}

// Add is AddPortal with the reason why a portal was not added.
func (s *Sandbox) Add(p Portal) (*PortalState, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkApp(p); err != nil {
		return nil, err
	}
	return s.add(p), nil
}

// add is Add for a portal that was checked. The caller holds the lock.
func (s *Sandbox) add(p Portal) *PortalState {
	st := newPortalState(s, p)
	if old := s.Portal(st.name); old != nil && old.Name() == st.name {
		s.states = slices.DeleteFunc(s.states, func(other *PortalState) bool { return other == old })
		s.secrets.forget(old)
		delete(s.members, old.MemberID())
	}
	if member := st.MemberID(); member != "" {
		s.members[member] = st
	}
	s.portals.Store(st.name, st)
	s.states = append(s.states, st)
	if p.RenamedTo != "" {
		st.name = foldHost(p.RenamedTo)
		s.portals.Store(st.name, st)
	}
	return st
}

// Rename gives the portal a new name; the old one answers 302 from now on.
func (st *PortalState) Rename(name string) error {
	if name == "" || strings.ContainsAny(name, "/ ") {
		return fmt.Errorf("sandbox: %q is no name for a portal", name)
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.name = foldHost(name)
	st.box.portals.Store(st.name, st)
	return nil
}

// Portal finds a portal by a name it has or had; nil when there is none.
func (s *Sandbox) Portal(name string) *PortalState {
	st, ok := s.portals.Load(foldHost(name))
	if !ok {
		return nil
	}
	return st.(*PortalState) //nolint:forcetypeassert // the map holds nothing else
}

// Portals returns all portals in the order they were added.
func (s *Sandbox) Portals() []*PortalState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*PortalState(nil), s.states...)
}

// find returns the portal of a Host header, and makes it where the sandbox was
// told to make portals on sight.
func (s *Sandbox) find(host string) (*PortalState, error) {
	if st := s.Portal(host); st != nil {
		return st, nil
	}
	if s.opts.unknown == nil || s.auth.answersTo(host) {
		return nil, errUnknownHost
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.Portal(host); st != nil { // made meanwhile
		return st, nil
	}
	p := *s.opts.unknown
	p.Name, p.RenamedTo, p.MemberID = foldHost(host), "", ""
	if s.count >= maxMade || p.check() != nil {
		return nil, errUnknownHost
	}
	s.count++
	return s.add(p), nil
}

// maxMade bounds the portals that are made on sight.
const maxMade = 100_000

// Stats sums the counters of all portals. Its violations are all that
// [Sandbox.Violations] tells of; requests to the authorization server are
// counted apart, see [AuthServer.Stats].
func (s *Sandbox) Stats() Stats {
	total := newStats()
	for _, st := range s.Portals() {
		total.add(st.Stats())
	}
	s.auth.mu.Lock()
	defer s.auth.mu.Unlock()
	total.Violations += s.auth.broken
	return total
}
