// One portal at work: its bots, sign-ins, limits and counts.

package sandbox

import (
	"strings"
	"sync"
	"time"
)

// PortalState is a portal in the box. Its methods may be called from many
// goroutines, also while requests are served.
type PortalState struct {
	box *Sandbox
	cfg Portal // settled: defaults filled in, periods scaled

	mu       sync.Mutex
	name     string // as configured, or the new one after a rename
	webhooks map[string]Webhook
	tokens   map[Secret]Token
	faults   []*armed
	calls    uint64 // numbers calls, for the faults' decisions
	requests uint64 // numbers HTTP requests, likewise
	created  uint64 // numbers service times
	sources  sources
	work     counters
	bots     botTable
	bound    map[string]map[string]string // application → event → URL
	sending  map[string]int               // CODE, folded → registrations being worked on
	seen     record
	grant    grant
}

func newPortalState(box *Sandbox, p Portal) *PortalState {
	st := &PortalState{
		box: box, cfg: p.settled(box.opts.scale), name: foldHost(p.Name),
		webhooks: map[string]Webhook{}, tokens: map[Secret]Token{},
		sources: sources{}, work: counters{}, bound: map[string]map[string]string{},
		sending: map[string]int{}, seen: newRecord(box.opts.logSize),
	}
	st.bots = newBotTable(st.cfg.FirstBotID)
	for _, w := range p.Webhooks {
		st.AddWebhook(w)
	}
	for _, t := range p.Tokens {
		st.SetToken(t)
	}
	for _, value := range p.Sessions {
		box.secrets.add(sessionKind, value, st)
	}
	st.installApp()
	now := box.now()
	for _, f := range append(append([]Fault(nil), box.opts.faults...), p.Faults...) {
		st.faults = append(st.faults, f.arm(now, box.opts.scale, len(st.faults)))
	}
	return st
}

func (w Webhook) key() string { return w.User + "/" + string(w.Secret) }

// Name is the portal's present name.
func (st *PortalState) Name() string {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.name
}

// Limits are the portal's limits as callers meet them: what a portals file
// must say for a client to agree with this portal.
func (st *PortalState) Limits() Limits {
	return Limits{
		Rate: st.cfg.Rate, Burst: st.cfg.Burst, Operating: st.cfg.OperatingLimit,
		OperatingWindow: st.cfg.OperatingWindow, ServerTimeout: max(0, st.cfg.ServerTimeout),
	}
}

// AddWebhook lets one more webhook sign in.
func (st *PortalState) AddWebhook(w Webhook) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.webhooks[w.key()] = w
	st.box.secrets.add(webhookKind, w.Secret, st)
}

// RemoveWebhook deletes a webhook: its calls are INVALID_CREDENTIALS from now on.
func (st *PortalState) RemoveWebhook(user string, secret Secret) {
	st.mu.Lock()
	defer st.mu.Unlock()
	delete(st.webhooks, Webhook{User: user, Secret: secret}.key())
}

// SetToken adds an access token, or changes one.
func (st *PortalState) SetToken(t Token) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.tokens[t.Value] = t
	st.box.secrets.add(tokenSecret, t.Value, st)
}

// RemoveToken makes an access token unknown: invalid_token from now on.
func (st *PortalState) RemoveToken(value Secret) {
	st.mu.Lock()
	defer st.mu.Unlock()
	delete(st.tokens, value)
}

// Inject adds a fault; its After and For count from now.
func (st *PortalState) Inject(f Fault) error {
	if err := f.check(); err != nil {
		return err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.faults = append(st.faults, f.arm(st.box.now(), st.box.opts.scale, len(st.faults)))
	return nil
}

// ClearFaults ends all faults. What already hangs goes on hanging.
func (st *PortalState) ClearFaults() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.faults = nil
}

// serviceTime is how long the next bot takes.
func (st *PortalState) serviceTime() time.Duration {
	if st.cfg.ServiceTime == 0 && st.cfg.ServiceJitter == 0 && st.cfg.ServiceFunc == nil {
		return 0
	}
	st.mu.Lock()
	n := st.created
	st.created++
	st.mu.Unlock()
	if st.cfg.ServiceFunc != nil {
		return scaled(st.cfg.ServiceFunc(n), st.box.opts.scale)
	}
	jitter := chance(st.box.opts.seed, st.cfg.Name, n, -1) * float64(st.cfg.ServiceJitter)
	return st.cfg.ServiceTime + time.Duration(jitter)
}

// waits reports whether this portal ever takes time for its work.
func (st *PortalState) waits() bool {
	return st.cfg.ServiceTime > 0 || st.cfg.ServiceJitter > 0 || st.cfg.ServiceFunc != nil
}

// foldHost brings a Host header to the form portals are registered under.
func foldHost(host string) string {
	host = strings.ToLower(host)
	host = strings.TrimSuffix(host, ":443")
	return strings.TrimSuffix(host, ":80")
}
