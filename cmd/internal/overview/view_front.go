// The front page, as it is shown.

package overview

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/hibiken/asynq"

	"botfleet/cmd/internal/redisconn"
	"botfleet/cmd/internal/report"
	"botfleet/ratelimit"
	"botfleet/tasks/runs"
)

// frame is what every page has.
type frame struct {
	Title, Version, Dashboard string
	Assets                    string // changes with the style and the script
	AsOf                      moment
	Older                     string   // which parts are of an earlier time
	Problems                  []string // what could not be had
}

// frontView is the front page.
type frontView struct {
	frame

	Verdict  verdict
	Warnings []string
	Runs     []runView // unfinished ones, with their details as far as those go
	Ended    []runView
	MoreRuns string
	NoRuns   bool
	// NoneUnfinished: there are runs, and all are done.
	NoneUnfinished bool
	Closed         []closedView
	MoreClosed     string
	NoneClosed     bool
	Busy           []busyView
	Limits         string // the limits of all portals in a line
	Queues         []queueView
	MoreQueues     string
	Facts          []fact
	// Unknown are the parts that could not be read.
	Unknown struct{ Runs, Limits, Queues bool }
}

type fact struct{ Name, Value, Class string }

// closedView is a portal that gets no requests.
type closedView struct {
	Name, State, Class, By, Why string
	Since                       moment
	Command                     string // that ends it
	Next                        string // when it is looked at again
}

// busyView is what is left of a portal's limits.
type busyView struct {
	Name, Tokens, Rate, Slowed, InFlight, InLine string
	Budget                                       string // what is left of the work; empty: the portal counts none
	Method                                       string
	Bar                                          []segment
	Spent                                        bool
	Back                                         moment // when some comes back
}

// queueView is one of asynq's queues.
type queueView struct {
	Name, Pending, Active, Scheduled, Retry, Archived string
	Link, ArchivedLink                                string
	Oldest                                            string
	Paused                                            bool
}

// frontLook is all that the front page is made of.
type frontLook struct {
	runs    answer[runsLook]
	held    answer[heldLook]
	gate    answer[gateLook]
	queues  answer[queueLook]
	server  answer[serverLook]
	details map[string]answer[detail]
	now     time.Time
}

// front makes the page.
func (o *Overview) front(l *frontLook) frontView {
	v := frontView{frame: o.frame("Overview", l.now), Warnings: cleaned(l.server.value.warnings)}
	v.problem("The runs", l.runs.err)
	v.problem("The held portals", l.held.err)
	v.problem("The limits", l.gate.err)
	v.problem("The queues", l.queues.err)
	v.problem("Redis’ memory, and the workers", l.server.err)
	rates, waits := l.detailed()
	v.Older = olderWords(l.now, []part{
		{"runs", l.runs.at}, {"how fast they are", rates}, {"what their rows wait for", waits}, {"held portals", l.held.at}, {"limits", l.gate.at},
		{"queues", l.queues.at}, {"Redis’ memory and the workers", l.server.at},
	})
	v.Unknown.Runs, v.Unknown.Limits, v.Unknown.Queues = l.runs.err != nil, l.gate.err != nil, l.queues.err != nil
	v.addRuns(l)
	v.addClosed(l)
	v.addBusy(l)
	v.addQueues(l, o.cfg.Dashboard)
	v.addFacts(l)
	v.Verdict = judge(l)
	return v
}

// detailed is of when the oldest details of runs are, and the oldest of what these
// are made of.
func (l *frontLook) detailed() (rates, waits time.Time) {
	for _, d := range l.details {
		if rates.IsZero() || d.at.Before(rates) {
			rates = d.at
		}
		if at := d.value.asOf; !at.IsZero() && (waits.IsZero() || at.Before(waits)) {
			waits = at
		}
	}
	return rates, waits
}

func (o *Overview) frame(title string, now time.Time) frame {
	return frame{Title: title, Version: report.Clean(o.cfg.Version), Dashboard: o.cfg.Dashboard, Assets: assetsVersion, AsOf: momentOf(now, now)}
}

// problem notes that a part could not be had.
func (f *frame) problem(what string, err error) {
	if err != nil {
		f.Problems = append(f.Problems, what+" could not be read: "+report.Clean(err.Error())+".")
	}
}

// part is what was asked for by itself, and when it was answered.
type part struct {
	name string
	at   time.Time
}

// olderWords names the parts that are kept for longer because asking takes long.
func olderWords(now time.Time, parts []part) string {
	var older []string
	for _, p := range parts {
		if !p.at.IsZero() && now.Sub(p.at) > noticed {
			older = append(older, p.name+" of "+momentOf(p.at, now).Clock)
		}
	}
	if len(older) == 0 {
		return ""
	}
	return "Older, as Redis was slow to tell: " + strings.Join(older, ", ") + "."
}

func cleaned(all []string) []string {
	var list []string
	for _, s := range all {
		list = append(list, report.Clean(s))
	}
	return list
}

func (v *frontView) addRuns(l *frontLook) {
	list := l.runs.value.list
	v.NoRuns = l.runs.err == nil && len(list) == 0
	shown := list[:min(len(list), shownRuns)]
	for i := range shown {
		r := runOf(&shown[i], l.now, shownDead)
		if shown[i].Finished() {
			v.Ended = append(v.Ended, r)
			continue
		}
		if d, ok := l.details[r.ID]; ok {
			if d.err != nil {
				r.Problem = "Not all could be read: " + report.Clean(d.err.Error()) + "."
			}
			if d.value.info.ID != "" {
				r2 := runOf(&d.value.info, l.now, shownDead) // of one moment with its details
				r2.Problem = r.Problem
				r2.detail(&d.value, l.workers(), l.now)
				r = r2
			}
		}
		v.Runs = append(v.Runs, r)
	}
	v.NoneUnfinished = l.runs.err == nil && len(v.Runs) == 0 && len(v.Ended) > 0
	if more := l.runs.value.unfinished - len(v.Runs); more > 0 {
		v.MoreRuns = report.Counted(more, "more unfinished run") + " not shown here: enqueue status lists the newest 50."
	}
}

// workers is how many are alive; where that is not known there is this one.
func (l *frontLook) workers() int {
	if l.server.err != nil {
		return 1
	}
	return l.server.value.workers
}

func (v *frontView) addClosed(l *frontLook) {
	for _, p := range l.held.value.newest {
		c := closedView{
			Name: report.Clean(p.name), State: "held", Class: "bad", By: "a worker, after the portal’s answer", Why: report.Clean(p.hold.Reason),
			Since: momentOf(p.hold.Since, l.now), Command: command("enqueue portals check %s --release", p.name), // it says what is wrong still
		}
		switch {
		case p.hold.ByOperator:
			c.By, c.Command = "a person", command("enqueue portals release %s", p.name)
		case strings.HasPrefix(p.hold.Reason, overload): // a check would call it
			c.Command, c.Next = "", "only Bitrix24’s support; do not call the portal meanwhile"
		}
		v.Closed = append(v.Closed, c)
	}
	for i := range l.gate.value.shut {
		p := &l.gate.value.shut[i]
		c := closedView{Name: report.Clean(p.name), State: shutWords[p.Closed], Class: "warn", By: "a worker", Next: nextLook(p.ClosedUntil, l.now)}
		if p.Hold != nil {
			c.Why, c.Since = report.Clean(p.Hold.Reason), momentOf(p.Hold.Since, l.now)
			if p.Closed == ratelimit.Silent && p.Hold.Probes > 0 {
				c.Why += fmt.Sprintf(" (%s without an answer)", report.Counted(p.Hold.Probes, "probe"))
			}
		}
		v.Closed = append(v.Closed, c)
	}
	v.MoreClosed = l.moreClosed()
	v.NoneClosed = len(v.Closed) == 0 && l.held.err == nil && l.gate.err == nil
}

// overload begins the reason of a hold for a block that Bitrix24 has made by hand.
const overload = "OVERLOAD_LIMIT"

// moreClosed says how many portals that get no requests are not shown, by kind: only
// of the held ones there is a list.
func (l *frontLook) moreClosed() string {
	silent, refusing := l.gate.value.silent, l.gate.value.refusing
	for i := range l.gate.value.shut {
		if l.gate.value.shut[i].Closed == ratelimit.Silent {
			silent--
		} else {
			refusing--
		}
	}
	var all []string
	if n := l.held.value.count - len(l.held.value.newest); n > 0 {
		all = append(all, report.Count(n)+" more held (enqueue portals list --state held names them)")
	}
	if silent > 0 {
		all = append(all, report.Count(silent)+" more without an answer")
	}
	if refusing > 0 {
		all = append(all, report.Count(refusing)+" more left alone after refusing")
	}
	if len(all) == 0 {
		return ""
	}
	return "And " + strings.Join(all, ", ") + "."
}

func (v *frontView) addBusy(l *frontLook) {
	g := &l.gate.value
	for i := range g.busy {
		v.Busy = append(v.Busy, busyOf(&g.busy[i], l.now))
	}
	if g.known > 0 {
		v.Limits = fmt.Sprintf("%s asked for in the last 10 minutes by this worker; %s on their way to them, %s in line.",
			report.Counted(g.known, "portal"), report.Counted(g.inFlight, "request"), report.Counted(g.inLine, "row"))
		if g.slowed > 0 {
			v.Limits += fmt.Sprintf(" %s slowed after refusals for the request rate.", are(g.slowed, "portal"))
		}
	}
}

func busyOf(p *gatePortal, now time.Time) busyView {
	v := busyView{
		Name: report.Clean(p.name), Tokens: report.Count(int(p.Tokens)), Rate: report.Rate(p.Planned),
		InFlight: fmt.Sprintf("%d of %d", p.InFlight, p.Parallel), InLine: report.Count(p.Waiting),
	}
	if p.Rate < p.Planned {
		v.Slowed = report.Rate(p.Rate)
	}
	b := tightest(&p.Snapshot)
	if b == nil {
		return v
	}
	remains := max(0, b.Limit-b.Operating-b.Reserved)
	v.Budget = secondsText(remains) + " of " + secondsText(b.Limit)
	v.Method = report.Clean(b.Method)
	if b.Batched {
		v.Method += ", batched"
	}
	v.Bar = []segment{{"left", 0, int(barWidth * left(b))}}
	v.Spent = remains == 0 || b.ClosedUntil.After(now)
	if b.ResetAt.After(now) && b.Operating > 0 {
		v.Back = momentOf(b.ResetAt, now)
	}
	if b.ClosedUntil.After(now) {
		v.Back = momentOf(b.ClosedUntil, now)
	}
	return v
}

func (v *frontView) addQueues(l *frontLook, dashboard string) {
	for _, q := range l.queues.value.queues {
		v.Queues = append(v.Queues, queueOf(q, dashboard))
	}
	if more := l.queues.value.more; more > 0 {
		v.MoreQueues = report.Counted(more, "more queue") + " not looked at."
	}
}

func queueOf(q *asynq.QueueInfo, dashboard string) queueView {
	v := queueView{
		Name: report.Clean(q.Queue), Pending: report.Count(q.Pending), Active: report.Count(q.Active), Scheduled: report.Count(q.Scheduled),
		Retry: report.Count(q.Retry), Archived: report.Count(q.Archived), Paused: q.Paused, Oldest: "–",
	}
	if q.Pending > 0 {
		v.Oldest = report.Duration(q.Latency)
	}
	if dashboard != "" {
		v.Link = dashboard + "queues/" + url.PathEscape(q.Queue)
		if q.Archived > 0 {
			v.ArchivedLink = v.Link + "?status=archived"
		}
	}
	return v
}

func (v *frontView) addFacts(l *frontLook) {
	if l.server.err == nil {
		s := &l.server.value
		v.Facts = append(v.Facts, fact{Name: "Workers", Value: workersWords(s.workers, s.idle)}, fact{Name: "Redis", Value: memoryWords(s.memory)})
	}
	v.Facts = append(v.Facts, fact{Name: "Version", Value: v.Version})
}

func workersWords(takes, idle int) string {
	text := "none at work"
	if takes > 0 {
		text = report.Count(takes) + " at work"
	}
	switch {
	case idle == 1:
		text += ", 1 takes nothing: it is paused, or stopping"
	case idle > 1:
		text += ", " + report.Count(idle) + " take nothing: they are paused, or stopping"
	}
	return text
}

// memoryWords says how full Redis is.
func memoryWords(s redisconn.Server) string {
	switch {
	case s.Version == "":
		return "in memory, of this process"
	case s.Max == 0:
		return s.Version + ", " + bytesText(s.Used) + " used, no maxmemory set"
	}
	return fmt.Sprintf("%s, %s of %s used (%.0f%%)", s.Version, bytesText(s.Used), bytesText(s.Max), 100*s.Share())
}

// lastDead is how many rows are dead in the unfinished runs; where there are
// none, in the newest run.
func lastDead(list []runs.Info) (rows int, where string) {
	n := 0
	for i := range list {
		if !list[i].Finished() && list[i].Counts.Dead > 0 {
			rows, n = rows+list[i].Counts.Dead, n+1
		}
	}
	switch {
	case n == 1:
		return rows, "in an unfinished run"
	case n > 1:
		return rows, fmt.Sprintf("in %s", report.Counted(n, "unfinished run"))
	case len(list) > 0 && list[0].Finished():
		return list[0].Counts.Dead, "in the last run"
	}
	return 0, ""
}
