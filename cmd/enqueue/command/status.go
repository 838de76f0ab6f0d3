// enqueue status: how runs are getting on.

package command

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"text/tabwriter"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/engine"
	"botfleet/cmd/internal/outlook"
	"botfleet/cmd/internal/report"
	"botfleet/tasks/runs"
)

func newStatus(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "status [RUN]",
		Short: "Show runs, or one run: counts, rate, what waits and for what",
		Long: `Show the newest runs, or one run: its counts, what its dead rows died of, how
fast it is, what its waiting rows wait for, and when it will be done: by the
limits of its portals and what they are doing now, or, where no limit binds, at
the pace of late. It says which limit binds on which portal. Rows of portals that
are held or do not answer have no such time; the portals are named, with since
when and why. Nor have rows of portals that wait for a new token, which the
authorization server does not give.`,
		Example: "  enqueue status\n  enqueue status 0190a5c2-… --format json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := a.config()
			if err != nil {
				return err
			}
			base, err := engine.Open(cmd.Context(), cfg, cfg.RedisURL)
			if err != nil {
				return err
			}
			defer func() { _ = base.Close() }()
			defer base.HangUp(cmd.Context())()
			for _, w := range base.Warnings(cmd.Context()) {
				a.sayf("warning: %s", w)
			}
			if len(args) == 0 {
				return a.listRuns(cmd.Context(), base)
			}
			return a.oneRun(cmd.Context(), cfg, base, args[0])
		},
	}
}

// runStatus is a run as status prints it.
type runStatus struct {
	Run        string    `json:"run"`
	Label      string    `json:"label"`
	State      string    `json:"state"` // submitting, running, done
	Created    time.Time `json:"created"`
	Queued     int       `json:"queued"`
	Registered int       `json:"registered"`
	Dead       int       `json:"dead"`
	Refused    int       `json:"refused"`
	Duplicate  int       `json:"duplicate"`
	Waiting    int       `json:"waiting"`
	DeadBy     []deadBy  `json:"dead_by,omitempty"` // most first
	// What follows is given for one run only, while rows of it wait.
	Rate     float64        `json:"rows_per_second,omitempty"`
	WaitsFor map[string]int `json:"waits_for,omitempty"`
	Sampled  bool           `json:"waits_for_is_a_sample,omitempty"` // of LookedAt rows, those put off that are due first
	LookedAt int            `json:"waits_for_looked_at,omitempty"`
	*etaStatus
}

// deadBy is how many rows died of one error.
type deadBy struct {
	Class string `json:"class,omitempty"`
	Code  string `json:"code"`
	Rows  int    `json:"rows"`
}

func statusOf(i runs.Info) runStatus {
	state := "running"
	switch {
	case i.Open:
		state = "submitting"
	case i.Finished():
		state = "done"
	}
	c := i.Counts
	causes := make([]deadBy, len(i.DeadBy))
	for n, by := range i.DeadBy {
		causes[n] = deadBy{Class: by.Class, Code: by.Code, Rows: by.Rows}
	}
	return runStatus{
		Run: i.ID, Label: i.Label, State: state, Created: i.Created.UTC(), Queued: c.Queued, Registered: c.Registered,
		Dead: c.Dead, Refused: c.Refused, Duplicate: c.Duplicate, Waiting: c.Waiting,
		DeadBy: causes,
	}
}

// listedRuns is how many runs status lists.
const listedRuns = 50

func (a *app) listRuns(ctx context.Context, base *engine.Base) error {
	infos, err := base.Runs.List(ctx, listedRuns)
	if err != nil {
		return err
	}
	if a.stdoutFormat() != report.Table {
		return a.printJSON(infos)
	}
	if len(infos) == 0 {
		_, err := fmt.Fprintln(a.std.out, "no runs")
		return err
	}
	w := tabwriter.NewWriter(a.std.out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "RUN\tINPUT\tSTATE\tCREATED\tQUEUED\tREGISTERED\tDEAD\tREFUSED\tDUPLICATE\tWAITING")
	for _, i := range infos {
		s := statusOf(i)
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", s.Run, report.Clean(s.Label), s.State,
			s.Created.Local().Format("2006-01-02 15:04"), report.Count(s.Queued), report.Count(s.Registered), report.Count(s.Dead),
			report.Count(s.Refused), report.Count(s.Duplicate), report.Count(s.Waiting))
	}
	return w.Flush()
}

func (a *app) printJSON(infos []runs.Info) error {
	enc := json.NewEncoder(a.std.out)
	for _, i := range infos {
		if err := enc.Encode(statusOf(i)); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) oneRun(ctx context.Context, cfg config.Config, base *engine.Base, id string) error {
	info, err := base.Runs.Get(ctx, id)
	if err != nil {
		return err
	}
	s := statusOf(info)
	if info.Counts.Waiting > 0 {
		if s.Rate, err = base.Runs.Rate(ctx, id); err != nil {
			return err
		}
		w, err := waitsFor(ctx, base, id, info.Counts.Waiting)
		if err != nil {
			return err
		}
		s.WaitsFor, s.Sampled, s.LookedAt = w.reasons, w.sampled, w.looked
		s.etaStatus, err = eta(ctx, cfg, base, id, s.Rate, w)
		if redis.IsOOMError(err) { // looking ahead needs a little room
			s.etaStatus, err = &etaStatus{ETAUnknown: fullText}, nil
		}
		if err != nil {
			return err
		}
	}
	if a.stdoutFormat() != report.Table {
		return json.NewEncoder(a.std.out).Encode(s)
	}
	a.printRun(a.std.out, s)
	return nil
}

// eta finds out when a run's waiting rows will be done.
func eta(ctx context.Context, cfg config.Config, base *engine.Base, id string, perSecond float64, w *waits) (*etaStatus, error) {
	now, err := clockOf(ctx, base.Redis)
	if err != nil {
		return nil, err
	}
	f := foresight{waits: w, runs: base.Runs, registry: base.Registry, outlook: outlook.Outlook{
		Gate: base.Gate(cfg), Batch: effectiveBatch(cfg), Parallel: cfg.PortalParallel, Now: now,
	}}
	p, err := f.run(ctx, id, perSecond)
	if err != nil {
		return nil, err
	}
	there, err := fleetOf(ctx, base)
	if err != nil {
		return nil, err
	}
	return etaOf(&p, there, time.Now()), nil
}

func (a *app) printRun(w io.Writer, s runStatus) {
	_, _ = fmt.Fprintf(w, "run %s (%s), %s, begun %s\n", s.Run, report.Clean(s.Label), s.State, s.Created.Local().Format("2006-01-02 15:04:05"))
	_, _ = fmt.Fprintf(w, "%s queued: %s registered, %s dead, %s refused, %s duplicate, %s waiting\n", report.Count(s.Queued),
		report.Count(s.Registered), report.Count(s.Dead), report.Count(s.Refused), report.Count(s.Duplicate), report.Count(s.Waiting))
	for _, by := range s.DeadBy {
		class := ""
		if by.Class != "" {
			class = " (" + by.Class + ")"
		}
		_, _ = fmt.Fprintf(w, "  %s dead of %s%s\n", report.Count(by.Rows), report.Clean(by.Code), report.Clean(class))
	}
	if s.etaStatus != nil {
		s.print(w, s.Rate, time.Now())
	}
	reasons := make([]string, 0, len(s.WaitsFor))
	for r := range s.WaitsFor {
		reasons = append(reasons, r)
	}
	sort.Slice(reasons, func(i, j int) bool { return s.WaitsFor[reasons[i]] > s.WaitsFor[reasons[j]] })
	if s.Sampled && s.LookedAt > 0 {
		_, _ = fmt.Fprintf(w, "of the %s that are put off and due first:\n", report.Counted(s.LookedAt, "row"))
	}
	for _, r := range reasons {
		_, _ = fmt.Fprintf(w, "  %s: %s\n", report.Count(s.WaitsFor[r]), report.Clean(r))
	}
	if s.etaStatus != nil {
		s.printHolds(w)
	}
}
