// What status says of a run's end.

package command

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"botfleet/cmd/internal/fleet"
	"botfleet/cmd/internal/outlook"
	"botfleet/cmd/internal/report"
	"botfleet/ratelimit"
	"botfleet/tasks/dispatch"
)

// etaStatus is the part of a run's status that tells of its end.
type etaStatus struct {
	// Workers is how many worker processes take rows. Without any, ETA is reckoned
	// from now all the same. Paused are those that have stopped taking any, Installs
	// those that only take in installs.
	Workers  int `json:"workers"`
	Paused   int `json:"workers_paused,omitempty"`
	Installs int `json:"workers_installs_only,omitempty"`
	// ETA is missing when no row's end can be foreseen.
	ETA *time.Time `json:"eta,omitempty"`
	// ETABinds is what makes it so late: rate, operating, in flight (the
	// portal's own pace), refused, workers, or none; ETAPortal on which portal.
	// Without an ETA it is sign-in when rows wait for new tokens.
	ETABinds  string `json:"eta_binds,omitempty"`
	ETAPortal string `json:"eta_portal,omitempty"`
	// ETARows is for how many of the waiting rows it is.
	ETARows int          `json:"eta_rows"`
	Portals portalCounts `json:"portals"`
	// SignIn is set when rows wait for new tokens, Keys when they wait for a worker
	// whose SECRETS_KEY opens their portals' credentials.
	SignIn *signInStatus `json:"sign_in,omitempty"`
	Keys   *signInStatus `json:"keys,omitempty"`
	// PausedQueues is set when rows wait in queues that somebody has paused.
	PausedQueues *pausedStatus `json:"paused_queues,omitempty"`
	// ETAUnknown says why nothing could be foreseen at all.
	ETAUnknown string `json:"eta_unknown,omitempty"`
	// Holds are the closed portals that rows wait for, those with most rows first.
	Holds []holdStatus `json:"holds,omitempty"`
}

// portalCounts are the portals that rows of the run wait for.
type portalCounts struct {
	Waiting  int `json:"waiting"` // all of them
	Held     int `json:"held"`
	Silent   int `json:"silent"`
	Refusing int `json:"refusing"`
	// Unseen are those with fewest rows, which there were too many to look at.
	Unseen int `json:"unseen,omitempty"`
}

// signInStatus is of the rows whose portals' tokens have expired, while there are
// no new ones to be had.
type signInStatus struct {
	Rows    int    `json:"rows"`
	Portals int    `json:"portals"`
	Reason  string `json:"reason"` // that of most rows
}

// pausedStatus is of the rows in paused queues.
type pausedStatus struct {
	Rows    int      `json:"rows"`
	Portals int      `json:"portals"`
	Queues  []string `json:"queues"`
}

// holdStatus is one closed portal.
type holdStatus struct {
	Portal string     `json:"portal"`
	State  string     `json:"state"` // held, silent or refused
	Reason string     `json:"reason,omitempty"`
	Since  *time.Time `json:"since,omitempty"`
	// Until is when a silent portal is asked again, or a refusing one is open again.
	Until *time.Time `json:"until,omitempty"`
	Rows  int        `json:"rows"`
}

func etaOf(p *prospect, there fleet.Fleet, now time.Time) *etaStatus {
	s := &etaStatus{
		Workers: there.Workers, Paused: there.Paused, Installs: there.Installs, ETARows: p.Foreseen,
		Portals: portalCounts{Waiting: p.portals, Held: p.Held, Silent: p.Silent, Refusing: p.Refusing, Unseen: p.more},
	}
	if p.Foreseen > 0 {
		s.ETA = moment(now.Add(p.Duration))
		s.ETABinds, s.ETAPortal = string(p.Binds), p.Portal
		if p.Binds == ratelimit.None {
			s.ETABinds = "none"
		}
	}
	if p.tokenRows > 0 {
		s.SignIn = &signInStatus{Rows: p.tokenRows, Portals: p.tokenPortals, Reason: mostOften(p.tokens)}
		if s.ETA == nil {
			s.ETABinds = string(dispatch.SignIn)
		}
	}
	if p.keyRows > 0 {
		s.Keys = &signInStatus{Rows: p.keyRows, Portals: p.keyPortals, Reason: mostOften(p.keys)}
	}
	if p.pausedRows > 0 {
		s.PausedQueues = &pausedStatus{p.pausedRows, p.pausedPortals, slices.Sorted(maps.Keys(p.paused))}
	}
	for i := range p.Shut {
		o := &p.Shut[i]
		h := holdStatus{Portal: o.Portal.Name, State: string(o.Shut), Reason: o.Why, Since: moment(o.Since), Rows: o.Rows}
		if o.Shut != ratelimit.Held {
			h.Until = moment(o.Until)
		}
		s.Holds = append(s.Holds, h)
	}
	return s
}

// moment is a time as JSON has it; nil for none.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Second)
	return &t
}

// print says when the run will be done, and what keeps it.
func (s *etaStatus) print(w io.Writer, perSecond float64, now time.Time) {
	if s.ETAUnknown != "" {
		_, _ = fmt.Fprintf(w, "when it will be done cannot be told: %s\n", s.ETAUnknown)
		return
	}
	if s.Workers == 0 {
		_, _ = fmt.Fprintln(w, "no worker is at work on this Redis"+restWords(s.Paused, s.Installs))
	}
	s.printTime(w, perSecond, now)
	if q := s.PausedQueues; q != nil {
		_, _ = fmt.Fprintf(w, "%s %s in paused queues, until somebody resumes them: %s\n", report.Counted(q.Rows, "row"), waitWord(q.Rows), strings.Join(q.Queues, ", "))
	}
	if k := s.Keys; k != nil {
		_, _ = fmt.Fprintf(w, "%s of %s %s for a worker with another SECRETS_KEY: %s\n", report.Counted(k.Rows, "row"), report.Counted(k.Portals, "portal"), waitWord(k.Rows), k.Reason)
	}
	if t := s.SignIn; t != nil {
		_, _ = fmt.Fprintf(w, "%s of %s %s for a new token: %s\n", report.Counted(t.Rows, "row"), report.Counted(t.Portals, "portal"), waitWord(t.Rows), t.Reason)
	}
	if text := s.Portals.words(); text != "" {
		_, _ = fmt.Fprintf(w, "of %s that rows wait for, %s\n", report.Counted(s.Portals.Waiting, "portal"), text)
	}
}

// printTime says when the rows whose end can be foreseen will be done.
func (s *etaStatus) printTime(w io.Writer, perSecond float64, now time.Time) {
	pace := ""
	if perSecond > 0 {
		pace = report.Rate(perSecond) + " lately; "
	}
	endless := s.endless()
	if s.ETA == nil {
		if endless > 0 {
			_, _ = fmt.Fprintf(w, "%snobody knows when it will be done\n", pace)
		}
		return
	}
	which, from := "", ""
	if endless > 0 {
		which = report.Counted(s.ETARows, "row") + " of the other portals "
	}
	if s.Workers == 0 {
		from = " once one is"
	}
	in, binds := s.ETA.Sub(now), outlook.BindsWords(ratelimit.Reason(s.ETABinds), s.ETAPortal)
	switch {
	case in >= time.Second:
		_, _ = fmt.Fprintf(w, "%s%sdone in about %s%s: %s\n", pace, which, report.Duration(in), from, binds)
	case perSecond > 0:
		_, _ = fmt.Fprintf(w, "%s%sdone in a moment%s: %s\n", pace, which, from, binds)
	default: // the limits allow all of them now, and say nothing of how long they take
		_, _ = fmt.Fprintf(w, "when %swill be done is not known before some rows are: %s\n", cmp.Or(which, "it "), binds)
	}
}

// endless is how many portals' rows have no end that can be foreseen.
func (s *etaStatus) endless() int {
	n := s.Portals.Held + s.Portals.Silent
	for _, t := range []*signInStatus{s.SignIn, s.Keys} {
		if t != nil {
			n += t.Portals
		}
	}
	if s.PausedQueues != nil {
		n += s.PausedQueues.Portals
	}
	return n
}

func waitWord(rows int) string {
	if rows == 1 {
		return "waits"
	}
	return "wait"
}

// words says what is special about the portals.
func (c *portalCounts) words() string {
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{
		{c.Held, "held (their rows wait for somebody to act)"},
		{c.Silent, "silent (their rows wait until they answer)"},
		{c.Refusing, "left alone for a while after refusing"},
		{c.Unseen, "not looked at, those with fewest rows"},
	} {
		if p.n > 0 {
			parts = append(parts, report.Count(p.n)+" "+p.what)
		}
	}
	return strings.Join(parts, ", ")
}

// shownHolds is how many closed portals are named to a person.
const shownHolds = 20

// printHolds names the closed portals.
func (s *etaStatus) printHolds(w io.Writer) {
	for i, h := range s.Holds {
		if i == shownHolds {
			_, _ = fmt.Fprintf(w, "… and %s more\n", report.Count(s.Portals.Held+s.Portals.Silent+s.Portals.Refusing-shownHolds))
			break
		}
		since := ""
		if h.Since != nil {
			since = " since " + h.Since.Local().Format("2006-01-02 15:04:05")
		}
		why := ""
		if h.Reason != "" {
			why = ": " + report.Clean(h.Reason)
		}
		_, _ = fmt.Fprintf(w, "%s, %s: %s%s%s\n", report.Clean(h.Portal), report.Counted(h.Rows, "row"), shutWords[h.State], since, why)
	}
}

var shutWords = map[string]string{
	string(ratelimit.Held):    "held",
	string(ratelimit.Silent):  "does not answer",
	string(ratelimit.Refused): "left alone for a while after refusing",
}
