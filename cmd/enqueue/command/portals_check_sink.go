// What check prints: a record for each portal, progress, and a summary.

package command

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"botfleet/bitrix/portals/signin"
	"botfleet/cmd/internal/report"
)

// checkRecord is a checked portal as it is printed.
type checkRecord struct {
	Portal    string      `json:"portal"`
	ID        string      `json:"id,omitempty"`
	MemberID  string      `json:"member_id,omitempty"`
	Fine      bool        `json:"fine"`
	Status    checkStatus `json:"status"`
	Bots      *int        `json:"bots,omitempty"`
	Code      string      `json:"code,omitempty"`
	Problem   string      `json:"problem,omitempty"`
	MovedFrom string      `json:"moved_from,omitempty"`
	Held      *holdOf     `json:"held,omitempty"`
	Works     *bool       `json:"works,omitempty"` // of a held portal: would it now; missing where that was not found out
	Released  bool        `json:"released,omitempty"`
	Requests  int         `json:"requests"`
	Millis    int64       `json:"took_ms"`
}

func recordOf(r *checked, file bool) *checkRecord {
	out := &checkRecord{
		Portal: r.name, ID: r.portal.ID, MemberID: r.portal.MemberID, Status: r.verdict.status, Code: r.verdict.code,
		Problem: r.verdict.text, Held: heldAs(r.held), Released: r.released, Requests: r.requests, Millis: r.took.Milliseconds(),
	}
	if file {
		out.ID = ""
	}
	if r.verdict.fine() {
		out.Bots = &r.bots
	}
	if r.name != r.portal.Name {
		out.MovedFrom = r.portal.Name
	}
	switch {
	case r.held != nil && !r.again.IsZero() && !r.released:
		out.unsure(r)
	case r.held != nil:
		works := r.verdict.fine()
		out.Works = &works
		out.explainHold(r.released, works)
	}
	out.Fine = (verdict{status: out.Status}).fine()
	out.Problem = report.Clean(out.Problem)
	return out
}

// unsure says that nobody can tell yet whether a held portal would work.
func (c *checkRecord) unsure(r *checked) {
	c.Problem = c.Held.words()
	if r.verdict.code == signin.CodePending {
		c.Problem += "; whether it works now cannot be told before " + r.again.Local().Format("15:04:05") + ", as its token is being renewed"
	} else {
		c.Problem += "; whether it works now cannot be told: " + r.verdict.text
	}
	c.Status = statusHeld
}

// explainHold says what keeps a held portal, and whether anything but the hold does.
func (c *checkRecord) explainHold(released, works bool) {
	hold := c.Held.words()
	switch {
	case released:
		c.Problem = strings.TrimSuffix("released, was "+hold+"; "+c.Problem, "; ")
		return
	case c.Status == statusGone || c.Status == statusRemoved:
		return
	case works && c.Held.ByOperator:
		c.Problem = hold + "; it would work now: enqueue portals release ends the hold"
	case works:
		c.Problem = hold + "; it would work now: release it, or check it with --release"
	default:
		c.Problem = hold + "; it would not work now: " + c.Problem
	}
	c.Status = statusHeld
}

func checkLayout() layout {
	return layout{
		csv:   []string{"portal", "id", "member_id", "fine", "status", "bots", "code", "problem", "moved_from", "held_since", "held_reason", "works", "released", "requests", "took_ms"},
		table: []string{"PORTAL", "STATUS", "BOTS", "DETAIL"},
	}
}

func (c *checkRecord) csvCells() []string {
	since, reason, works, bots := "", "", "", ""
	if c.Held != nil {
		since, reason = c.Held.Since.Format(time.RFC3339), c.Held.Reason
	}
	if c.Works != nil {
		works = strconv.FormatBool(*c.Works)
	}
	if c.Bots != nil {
		bots = strconv.Itoa(*c.Bots)
	}
	return []string{c.Portal, c.ID, c.MemberID, strconv.FormatBool(c.Fine), string(c.Status), bots, c.Code, c.Problem, c.MovedFrom, since, reason, works,
		strconv.FormatBool(c.Released), strconv.Itoa(c.Requests), strconv.FormatInt(c.Millis, 10)}
}

func (c *checkRecord) tableCells() []string {
	bots := "-"
	if c.Bots != nil {
		bots = strconv.Itoa(*c.Bots)
	}
	detail := c.Problem
	if c.MovedFrom != "" {
		detail = strings.TrimSuffix("renamed, was "+c.MovedFrom+"; "+detail, "; ")
	}
	return []string{c.Portal, string(c.Status), bots, detail}
}

// checkSink takes checked portals. It is for one goroutine.
type checkSink struct {
	out    *records
	file   bool
	err    io.Writer
	say    func(format string, args ...any)
	bar    *checkProgress
	kept   []*checkRecord // for a table, which is sorted
	counts map[checkStatus]int
	total  int
	done   int
	bad    int
	flush  time.Time
}

func (a *app) newCheckSink(total int, file bool) (*checkSink, error) {
	out, err := a.newRecords(checkLayout())
	if err != nil {
		return nil, err
	}
	s := &checkSink{out: out, file: file, err: a.std.err, say: a.sayf, counts: map[checkStatus]int{}, total: total}
	// Lines of results on the same terminal would run into a bar.
	clash := a.common.output == "" && terminal(a.std.out) > 0 && out.format != report.Table
	s.bar = newCheckProgress(a.std.err, total, terminal(a.std.err), a.common.quiet || clash)
	return s, nil
}

// write takes one portal. A table shows all of them at the end, or, when they
// are many, those that somebody has to look at.
func (s *checkSink) write(r *checked) error {
	rec := recordOf(r, s.file)
	s.done++
	s.counts[rec.Status]++
	if !rec.Fine {
		s.bad++
	}
	s.bar.update(s.done, s.bad)
	if s.out.format == report.Table {
		s.keep(rec)
		return nil
	}
	if err := s.out.write(rec); err != nil {
		return err
	}
	if time.Since(s.flush) < time.Second && s.done < s.total {
		return nil
	}
	s.flush = time.Now()
	return s.out.flush()
}

func (s *checkSink) keep(rec *checkRecord) {
	s.kept = append(s.kept, rec)
	if len(s.kept) <= tableRows {
		return
	}
	kept := s.kept[:0]
	for _, k := range s.kept {
		if !k.Fine && len(kept) < tableRows {
			kept = append(kept, k)
		}
	}
	clear(s.kept[len(kept):])
	s.kept = kept
}

// close writes what was kept and ends output and progress.
func (s *checkSink) close() error {
	s.bar.done()
	slices.SortFunc(s.kept, func(a, b *checkRecord) int {
		return cmp.Or(strings.Compare(a.Portal, b.Portal), strings.Compare(a.ID, b.ID))
	})
	var err error
	for _, rec := range s.kept {
		err = cmp.Or(err, s.out.write(rec))
	}
	err = errors.Join(err, s.out.close())
	if hidden := s.done - len(s.kept); s.out.format == report.Table && hidden > 0 && err == nil {
		_, _ = fmt.Fprintf(s.err, "not shown: %s; --output FILE keeps all\n", report.Counted(hidden, "more portal"))
	}
	return err
}

// summary is "1,000 portals: 998 ok, 2 unreachable; 1,000 requests in 4s".
func (s *checkSink) summary(requests, renewals int, took time.Duration) {
	statuses := make([]checkStatus, 0, len(s.counts))
	for st := range s.counts {
		statuses = append(statuses, st)
	}
	slices.SortFunc(statuses, func(a, b checkStatus) int {
		return cmp.Or(cmp.Compare(s.counts[b], s.counts[a]), strings.Compare(string(a), string(b)))
	})
	parts := make([]string, len(statuses))
	for i, st := range statuses {
		parts[i] = report.Count(s.counts[st]) + " " + string(st)
	}
	text := report.Counted(s.done, "portal")
	if len(parts) > 0 {
		text += ": " + strings.Join(parts, ", ")
	}
	more := ""
	if renewals > 0 {
		more = fmt.Sprintf(" to portals, %s to the authorization server,", report.Count(renewals))
	}
	s.say("%s; %s%s in %s", text, report.Counted(requests, "request"), more, report.Duration(took))
}
