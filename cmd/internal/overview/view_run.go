// One run, as it is shown.

package overview

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"botfleet/bitrix/portals/signin"
	"botfleet/cmd/internal/outlook"
	"botfleet/cmd/internal/report"
	"botfleet/ratelimit"
	"botfleet/tasks/runs"
)

// runView is one run.
type runView struct {
	ID, Label, State string
	Created, Ended   moment
	Queued, Registered, Dead, Refused,
	Duplicate, Waiting string
	HasDead, HasRefused, HasDuplicate, HasWaiting bool
	// Done is how much has an outcome: "412,132 of 1,000,000 rows, 41%".
	Done string
	Bar  []segment
	// DeadBy are the causes of dead rows, and DeadMore how many are left out.
	DeadBy   []deadLine
	DeadMore string
	// What follows is of unfinished runs only.
	Detailed bool
	Pace     string // how fast it is, and when it is done
	Oldest   moment
	Waits    []waitLine
	Partial  string // what was left out
	Portals  []portalView
	Problem  string // what could not be had
}

// segment is a part of a bar that is barWidth wide.
type segment struct {
	Class string
	X, W  int
}

type deadLine struct{ Class, Code, Rows, Command string }

// waitLine is rows and what they wait for, and what some of them say of it.
type waitLine struct {
	Rows, Text, Class string
	Note              string
	Some              []waitLine
}

// portalView is one portal that rows of a run wait for.
type portalView struct {
	Name, Rows, State, Class, Why string
	Since                         moment
	Next                          string // when it is looked at again
}

const (
	barWidth = 1000
	// shownDead is how many causes of dead rows the front page names for a run.
	shownDead = 4
)

func runOf(i *runs.Info, now time.Time, deadLines int) runView {
	c := i.Counts
	v := runView{
		ID: i.ID, Label: report.Clean(i.Label), State: "running", Created: momentOf(i.Created, now), Ended: momentOf(i.Ended, now),
		Queued: report.Count(c.Queued), Registered: report.Count(c.Registered), Dead: report.Count(c.Dead), Refused: report.Count(c.Refused),
		Duplicate: report.Count(c.Duplicate), Waiting: report.Count(c.Waiting),
		HasDead: c.Dead > 0, HasRefused: c.Refused > 0, HasDuplicate: c.Duplicate > 0, HasWaiting: c.Waiting > 0,
	}
	switch {
	case i.Open:
		v.State = "submitting"
	case i.Finished():
		v.State = "done"
	}
	if v.Label == "" {
		v.Label = "without a label"
	}
	whole := c.Done() + c.Waiting
	v.Done = fmt.Sprintf("%s of %s done, %s", report.Count(c.Done()), report.Counted(whole, "row"), percent(c.Done(), whole))
	v.Bar = bar(c, whole)
	for n, d := range i.DeadBy {
		if n == deadLines {
			v.DeadMore = report.Counted(len(i.DeadBy)-n, "more cause")
			break
		}
		v.DeadBy = append(v.DeadBy, deadOf(i.ID, d))
	}
	return v
}

func deadOf(run string, d runs.CodeCount) deadLine {
	l := deadLine{Class: report.Clean(d.Class), Code: report.Clean(d.Code), Rows: report.Count(d.Rows)}
	if d.Class == "" && d.Code == runs.CodeOther {
		l.Code = "others"
		return l
	}
	l.Command = command("enqueue dead list %s --class %s --code %s", run, d.Class, d.Code)
	return l
}

// bar makes every part that is not empty wide enough to be seen.
func bar(c runs.Counts, whole int) []segment {
	const least = 6
	var all []segment
	x := 0
	for _, part := range []struct {
		class string
		rows  int
	}{{"registered", c.Registered}, {"duplicate", c.Duplicate}, {"refused", c.Refused}, {"dead", c.Dead}} {
		if part.rows <= 0 || whole <= 0 {
			continue
		}
		w := min(max(int(float64(barWidth)*float64(part.rows)/float64(whole)), least), barWidth-x)
		all = append(all, segment{part.class, x, w})
		x += w
	}
	return all
}

// detail adds what is known of an unfinished run.
func (v *runView) detail(d *detail, workers int, now time.Time) {
	v.Detailed = true
	if d.info.Counts.Waiting == 0 {
		return
	}
	v.Oldest = momentOf(d.oldest, now)
	v.Pace = paceWords(d, workers, now)
	if !d.foreseen {
		return
	}
	v.Waits = waitsOf(d)
	v.Partial = partialWords(d)
	for i := range d.top {
		v.Portals = append(v.Portals, portalOf(&d.top[i], now))
	}
}

// leastRate is the least rate that is said, in rows a second.
const leastRate = 0.05

// paceWords says how fast a run is and when it will be done.
func paceWords(d *detail, workers int, now time.Time) string {
	var parts []string
	if d.rate >= leastRate {
		parts = append(parts, report.Rate(d.rate)+" lately")
	}
	endless := d.counts[ratelimit.Held].portals + d.counts[ratelimit.Silent].portals + d.standing().portals + d.unlooked.portals
	switch t := &d.total; {
	case t.Foreseen > 0 && d.rate < leastRate && t.Duration < time.Second:
		parts = append(parts, "no limit keeps "+report.Counted(t.Foreseen, "row")+" of portals that are open")
	case t.Foreseen > 0:
		what := "done"
		if endless > 0 {
			what = report.Counted(t.Foreseen, "row") + " of the other portals done"
		}
		from := ""
		if workers == 0 {
			from = " once a worker is there"
		}
		parts = append(parts, what+" "+soon(t.Duration, now)+from+": "+outlook.BindsWords(t.Binds, report.Clean(t.Portal)))
	case d.unlooked.portals > 0:
		parts = append(parts, "nobody knows when it will be done: all of its portals that were looked at are closed")
	case endless > 0:
		parts = append(parts, "nobody knows when it will be done: all its portals are closed")
	}
	return sentence(strings.Join(parts, "; "))
}

// soon is when something foreseen happens.
func soon(d time.Duration, now time.Time) string {
	if d < time.Second {
		return "in a moment"
	}
	return fmt.Sprintf("in about %s (%s)", report.Duration(d), momentOf(now.Add(d), now).Clock)
}

// shutWords are said of a portal that gets no requests.
var shutWords = map[ratelimit.Reason]string{
	ratelimit.Held:    "held",
	ratelimit.Silent:  "does not answer",
	ratelimit.Refused: "left alone after refusing",
}

// waitsOf says how many rows wait for what: by their portals' states, and for the
// rest as their tasks say.
func waitsOf(d *detail) []waitLine {
	var all []waitLine
	open := d.info.Counts.Waiting
	for _, c := range []struct {
		count       portalCount
		text, class string
	}{
		{d.paused, "their queue is paused", "bad"},
		{d.counts[ratelimit.Held], "held, until released or given new credentials", "bad"},
		{d.counts[ratelimit.Silent], "no answer; asked again from time to time", "warn"},
		{d.sealed, "their credentials do not open under the worker's SECRETS_KEY", "bad"},
		{d.signIn, "no new token from the authorization server", "warn"},
		{d.counts[ratelimit.Refused], "left alone for a while after a refusal for the limits", "warn"},
		{d.unknown, "not in the registry any more; the rows end when a worker takes them", ""},
		{d.unlooked, "not looked at; others of this run stand", ""},
	} {
		if c.count.rows > 0 {
			open -= c.count.rows
			all = append(all, waitLine{Rows: report.Counted(c.count.rows, "row"), Text: "of " + report.Counted(c.count.portals, "portal") + ": " + c.text, Class: c.class})
		}
	}
	if open <= 0 {
		return all
	}
	line := waitLine{Rows: report.Counted(open, "row"), Text: "of portals that take rows"}
	if d.cut {
		line.Text += ", or were not counted"
	}
	if d.sampled {
		line.Note = "of those put off, these are due first:"
	}
	if line.Some = reasonsOf(d, open); len(line.Some) == 0 {
		line.Note = ""
	}
	return append(all, line)
}

// closedReasons begin what rows of closed portals say, which are counted by their portals.
var closedReasons = []string{
	"portal held: ", outlook.TokenWait, outlook.KeyWait, "waits for the portal to answer again", "waits for the portal, which refused for its limits",
	"waits for the portal's release",
}

func reasonsOf(d *detail, open int) (reasons []waitLine) {
	type counted struct {
		text string
		rows int
	}
	var all []counted
	seen := 0
	for text, rows := range d.waits.reasons {
		if strings.HasPrefix(text, outlook.TokenWait+signin.CodePending) || !slices.ContainsFunc(closedReasons, func(p string) bool { return strings.HasPrefix(text, p) }) {
			all = append(all, counted{text, rows})
			seen += rows
		}
	}
	slices.SortFunc(all, func(a, b counted) int { return cmp.Or(cmp.Compare(b.rows, a.rows), cmp.Compare(a.text, b.text)) })
	for _, c := range all {
		reasons = append(reasons, waitLine{Rows: report.Count(c.rows), Text: reasonText(c.text, c.rows)})
	}
	if rest := open - seen; rest > 0 && !d.sampled {
		reasons = append(reasons, waitLine{Rows: report.Count(rest), Text: "queued, in work, or not due yet"})
	}
	return reasons
}

// reasonText is what so many rows say of themselves.
func reasonText(text string, rows int) string {
	text = report.Clean(text)
	switch what, waits := strings.CutPrefix(text, "waits for "); {
	case waits && rows != 1:
		return "wait for " + what
	case strings.HasPrefix(text, "the next attempt ") && rows != 1:
		return "wait for " + text
	case strings.HasPrefix(text, "the next attempt "):
		return "waits for " + text
	}
	return text
}

// partialWords says what was not looked at.
func partialWords(d *detail) string {
	switch {
	case d.cut:
		return fmt.Sprintf("Only %s of the portals that rows wait for were counted, and %s of them asked about.", report.Count(d.portals), report.Count(d.asked))
	case d.portals > d.asked:
		return fmt.Sprintf("Rows wait for %s; the %s with most rows were asked about.", report.Counted(d.portals, "portal"), report.Count(d.asked))
	}
	return ""
}

func portalOf(p *portalOutlook, now time.Time) portalView {
	v := portalView{Name: report.Clean(p.Load.Portal.Name), Rows: report.Count(p.Rows)}
	switch {
	case p.stands != "":
		v.State, v.Class, v.Why = string(p.stands), "bad", report.Clean(p.why)
		if p.stands == waitsForToken {
			v.Class = "warn"
		}
		return v
	case p.Shut != ratelimit.None:
		v.State, v.Class, v.Why, v.Since = shutWords[p.Shut], "warn", report.Clean(p.Why), momentOf(p.Since, now)
		if p.Shut == ratelimit.Held {
			v.Class = "bad"
			return v
		}
		v.Next = nextLook(p.Until, now)
		return v
	}
	v.State = "takes rows"
	v.Why = "its limits keep none of them"
	if p.Duration >= time.Second {
		v.Why = "done in about " + report.Duration(p.Duration) + " at best: " + portalBinds(p.Binds)
	}
	return v
}

// nextLook says when a closed portal gets a request again.
func nextLook(t, now time.Time) string {
	if !t.After(now) {
		return "asked again with the next row"
	}
	return "asked again " + momentOf(t, now).String()
}

// portalBinds says which limit of a portal binds.
func portalBinds(binds ratelimit.Reason) string {
	switch binds {
	case ratelimit.Rate:
		return "its request rate binds"
	case ratelimit.Budget:
		return "its operating time binds"
	case ratelimit.InFlight, outlook.Workers:
		return "its own pace binds"
	default:
		return "no limit binds"
	}
}
