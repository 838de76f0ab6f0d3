// The portals: what they are like, how they disturb, and what is told of them.

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"time"

	"botfleet/bitrix/sandbox"
)

// Times are shortened, so that what takes minutes on the cloud takes seconds.
const (
	requestTimeout = 4 * time.Second  // REQUEST_TIMEOUT
	serverTimeout  = 5 * time.Second  // that a portal may work on a request
	slowTimeout    = 18 * time.Second // that a slow one may
	// mark is how long a sending mark lasts at most: both of these and 5 s.
	mark = requestTimeout + slowTimeout + 5*time.Second
)

const (
	applicationID = "local.chaos"
	ownClient     = "chaos"        // CLIENT_ID of rows over webhooks
	otherClient   = "chaos-others" // of rows of another application
)

// portalPlan is what a portal is like.
type portalPlan struct {
	oauth  bool
	picky  bool // refuses some bots for good
	wild   bool // disturbs half of its requests
	limits int  // which of limitKinds
	faults []sandbox.Fault
}

// limitKind is how a portal is limited.
type limitKind struct {
	rate              float64 // requests a second; 0: the portal has no limit, and the file says 50
	burst             int
	operating, window time.Duration // 0: none
	service, jitter   time.Duration // a bot takes
	server            time.Duration // a request may take; 0: serverTimeout
}

func (k limitKind) serverTimeout() time.Duration { return cmp.Or(k.server, serverTimeout) }

func limitKinds() []limitKind {
	return []limitKind{
		{service: 30 * time.Millisecond, jitter: 60 * time.Millisecond},
		{rate: 0.7, burst: 8, service: 40 * time.Millisecond, jitter: 80 * time.Millisecond},
		{operating: 2 * time.Second, window: 20 * time.Second, rate: 10, burst: 20, service: 60 * time.Millisecond, jitter: 60 * time.Millisecond},
		{rate: 3, burst: 15, service: 30 * time.Millisecond, jitter: 100 * time.Millisecond},
		{rate: 10, burst: 20, service: 200 * time.Millisecond, jitter: 200 * time.Millisecond},
		// Slower than the first repeat of a call comes, and than a batch is waited
		// for: what a lost answer leaves at work is still at work then.
		{rate: 10, burst: 20, service: 1500 * time.Millisecond, jitter: 2 * time.Second, server: slowTimeout},
	}
}

// disturbed is the share of requests that go wrong.
const disturbed = 0.1

// portals says what the portals are like.
func (a *author) portals() {
	kinds := len(limitKinds())
	for i := range a.o.portals {
		p := portalPlan{oauth: i%7 == 5, limits: i % kinds, wild: i%50 == 7, picky: i%40 == 11}
		share := disturbed
		if p.wild {
			share = 0.5
		}
		p.faults = faults(share)
		if p.picky {
			p.faults = append(p.faults, sandbox.Fault{Kind: sandbox.Refuse, Code: "NAME_ERROR", Methods: []string{"imbot.register"}, Probability: 0.1})
		}
		if p.oauth {
			p.faults = append(p.faults, authFaults()...)
		}
		a.s.portals = append(a.s.portals, p)
	}
}

// faults are all kinds of faults, which together strike about that share of a
// portal's requests.
func faults(share float64) []sandbox.Fault {
	parts := []struct {
		part float64
		f    sandbox.Fault
	}{
		{10, sandbox.Fault{Kind: sandbox.Reset}},
		{8, sandbox.Fault{Kind: sandbox.Reset, When: sandbox.After}},
		{8, sandbox.Fault{Kind: sandbox.Reset, When: sandbox.During}},
		{4, sandbox.Fault{Kind: sandbox.Silence}},
		{6, sandbox.Fault{Kind: sandbox.Silence, When: sandbox.After}},
		{4, sandbox.Fault{Kind: sandbox.Silence, When: sandbox.During}},
		{6, sandbox.Fault{Kind: sandbox.Stall}},
		{10, sandbox.Fault{Kind: sandbox.Truncate}},
		{8, sandbox.Fault{Kind: sandbox.Cut}},
		{8, sandbox.Fault{Kind: sandbox.HTML, Status: 502}},
		{6, sandbox.Fault{Kind: sandbox.HTML, Status: 504, When: sandbox.After}},
		{4, sandbox.Fault{Kind: sandbox.HTML, Status: 504, When: sandbox.During}},
		{6, sandbox.Fault{Kind: sandbox.Empty}},
		{1, sandbox.Fault{Kind: sandbox.Huge}},
		{6, sandbox.Fault{Kind: sandbox.Slow, Delay: 1500 * time.Millisecond}},
		{30, sandbox.Fault{Kind: sandbox.DieMidway}}, // of batches only
		{4, sandbox.Fault{Kind: sandbox.Refuse, Code: "INTERNAL_SERVER_ERROR"}},
		{3, sandbox.Fault{Kind: sandbox.Refuse, Code: "ERROR_UNEXPECTED_ANSWER", When: sandbox.After}},
		{3, sandbox.Fault{Kind: sandbox.Refuse, Code: "CONNECTION_ERROR"}},
	}
	var all []sandbox.Fault
	for _, p := range parts {
		p.f.Probability = share * p.part / 100
		all = append(all, p.f)
	}
	return all
}

// authFaults are those of the authorization server for one portal: one answer of
// ten is lost, and one request of ten is not served.
func authFaults() []sandbox.Fault {
	token := []string{"oauth/token"}
	return []sandbox.Fault{
		{Kind: sandbox.Reset, When: sandbox.After, Probability: 0.05, Methods: token},
		{Kind: sandbox.Truncate, Probability: 0.05, Methods: token},
		{Kind: sandbox.HTML, Status: 502, Probability: 0.05, Methods: token},
		{Kind: sandbox.Refuse, Code: "INTERNAL_SERVER_ERROR", Probability: 0.05, Methods: token},
	}
}

// like is the portal of a plan, without its name.
func (p portalPlan) like() sandbox.Portal {
	k := limitKinds()[p.limits]
	out := sandbox.Portal{
		Rate: k.rate, Burst: k.burst, OperatingLimit: k.operating, OperatingWindow: k.window,
		ReportsOperating: k.operating > 0, ServiceTime: k.service, ServiceJitter: k.jitter,
		ServerTimeout: k.serverTimeout(), Faults: p.faults,
	}
	if p.oauth {
		out.App = applicationID
	}
	return out
}

// place is a portal at work.
type place struct {
	plan  portalPlan
	state *sandbox.PortalState
	names []string // that it has had, the present one last
	// What was done to it:
	renamed, revoked, blocked bool
}

// open puts the portals into the box, each on an address of its own.
func (w *world) open() error {
	for i, p := range w.story.portals {
		name, err := w.box.Listen(fmt.Sprintf("127.40.%d.%d:0", i/250, 1+i%250))
		if err != nil {
			return err
		}
		like := p.like()
		like.Name = name
		if !p.oauth {
			like.Webhooks = []sandbox.Webhook{{User: "1", Secret: sandbox.Secret(w.webhook)}}
		}
		state, err := w.box.Add(like)
		if err != nil {
			return err
		}
		w.places = append(w.places, &place{plan: p, state: state, names: []string{name}})
	}
	return nil
}

// portalsFile is what is told of the portals.
func (w *world) portalsFile() error {
	kinds := limitKinds()
	var lines []any
	for _, p := range w.places {
		k, name := kinds[p.plan.limits], p.names[0]
		line := map[string]any{"portal": name, "server_timeout": k.serverTimeout().Seconds(), "rate": 50, "burst": 100, "operating_limit": 0}
		if k.rate > 0 {
			line["rate"], line["burst"] = k.rate, k.burst
		}
		if k.operating > 0 {
			line["operating_limit"], line["operating_window"] = k.operating.Seconds(), k.window.Seconds()
		}
		if p.plan.oauth {
			access, refresh := p.state.Pair()
			line["access_token"], line["refresh_token"] = string(access), string(refresh)
			line["client_endpoint"], line["member_id"] = "http://"+name+"/rest/", p.state.MemberID()
		} else {
			line["webhook"], line["client_id"] = "http://"+name+"/rest/1/"+w.webhook+"/", ownClient
		}
		lines = append(lines, line)
	}
	return w.writeLines("portals.jsonl", lines)
}

// writeLines writes values as JSON Lines into the seed's folder.
func (w *world) writeLines(name string, values []any) error {
	var text []byte
	for _, v := range values {
		line, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		text = append(append(text, line...), '\n')
	}
	return w.writeFile(name, text)
}
