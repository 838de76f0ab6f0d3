// enqueue doctor: is everything as it should be?

package command

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/spf13/cobra"

	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/engine"
	"botfleet/cmd/internal/fleet"
	"botfleet/cmd/internal/outlook"
	"botfleet/cmd/internal/redisconn"
	"botfleet/cmd/internal/report"
	"botfleet/tasks/sweep"
)

func newDoctor(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Look over Redis, clocks, keys, queues and workers, and say what is wrong",
		Long: `Look over what botfleet stands on: Redis (version, persistence, eviction, memory,
the way there), the clocks, the keys that seal credentials, the queues and who
works on them, the tokens that rows wait for, and what the sweeper has had to mend. Nothing is
changed.

Each line is ok, a warning, or wrong.`,
		Example: "  enqueue doctor\n  enqueue doctor --format json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.config()
			if err != nil {
				return err
			}
			cfg.AllowEviction = true // it is what we are asked for
			base, replica, err := engine.OpenToLook(cmd.Context(), cfg, cfg.RedisURL)
			if err != nil {
				return err
			}
			defer func() { _ = base.Close() }()
			defer base.HangUp(cmd.Context())()
			return a.doctor(cmd.Context(), cfg, base, replica)
		},
	}
}

// doctorLine is one line of doctor's.
type doctorLine struct {
	State string `json:"state"` // ok, warning or wrong
	What  string `json:"what"`
	Text  string `json:"text"`
}

func (l doctorLine) csvCells() []string   { return []string{l.State, l.What, l.Text} }
func (l doctorLine) tableCells() []string { return l.csvCells() }

const (
	stateOK      = "ok"
	stateWarning = "warning"
	stateWrong   = "wrong"
)

// doctor is one look over everything.
type doctor struct {
	cfg   config.Config
	base  *engine.Base
	lines []doctorLine
}

func (d *doctor) sayf(state, what, format string, args ...any) {
	d.lines = append(d.lines, doctorLine{state, what, fmt.Sprintf(format, args...)})
}

// doctor prints what it finds. replica is why the Redis takes no writes, if so.
func (a *app) doctor(ctx context.Context, cfg config.Config, base *engine.Base, replica error) error {
	out, err := a.newRecords(layout{csv: []string{"state", "what", "text"}, table: []string{"STATE", "WHAT", "TEXT"}})
	if err != nil {
		return err
	}
	d := &doctor{cfg: cfg, base: base}
	if replica != nil {
		d.sayf(stateWrong, "redis", "%v", replica)
	}
	for _, look := range []func(context.Context) error{d.redis, d.clocks, d.credentials, d.queues, d.tokens, d.archives, d.mended} {
		if err := look(ctx); err != nil {
			return errors.Join(err, out.close())
		}
	}
	wrong := false
	for _, l := range d.lines {
		wrong = wrong || l.State == stateWrong
		if err := out.write(l); err != nil {
			return errors.Join(err, out.close())
		}
	}
	if err := out.close(); err != nil {
		return err
	}
	if wrong {
		return &exitError{code: exitUnfinished}
	}
	return nil
}

// redis looks at the server.
func (d *doctor) redis(ctx context.Context) error {
	servers, err := redisconn.Servers(ctx, d.base.Redis)
	if err != nil {
		return err
	}
	for _, s := range servers {
		if s.Version == "" {
			d.sayf(stateWarning, "redis", "in memory, at %s: nothing of it survives its worker", d.base)
			continue
		}
		d.sayf(stateOK, "redis", "version %s at %s", s.Version, d.base)
		if s.AOF {
			d.sayf(stateOK, "persistence", "every change is written to disk (appendonly)")
		} else {
			d.sayf(stateWarning, "persistence", "appendonly is off: what was queued since the last snapshot is lost with Redis; set appendonly yes")
		}
		switch {
		case s.Loses():
			d.sayf(stateWrong, "eviction", "maxmemory-policy %s deletes rows, marks and credentials when memory is full; set it to noeviction", s.Policy)
		case s.Policy != "noeviction":
			d.sayf(stateWarning, "eviction", "maxmemory-policy is %s; without maxmemory it does nothing, but set it to noeviction", s.Policy)
		default:
			d.sayf(stateOK, "eviction", "noeviction")
		}
		d.memory(s)
	}
	return d.way(ctx)
}

// memoryTight is the share of memory from which on doctor warns, and memoryFull
// that from which on new runs are refused.
const memoryTight, memoryFull = 0.6, 0.8

func (d *doctor) memory(s redisconn.Server) {
	if s.Max == 0 {
		d.sayf(stateWarning, "memory", "%.1f MB used, and no maxmemory: a full machine ends Redis; set a bound below the machine's memory", float64(s.Used)/(1<<20))
		return
	}
	state := stateOK
	switch {
	case s.Share() >= memoryFull:
		state = stateWrong
	case s.Share() >= memoryTight:
		state = stateWarning
	}
	d.sayf(state, "memory", "%d of %d MB used (%.0f%%); new runs are refused from %.0f%% on", s.Used>>20, s.Max>>20, 100*s.Share(), 100*memoryFull)
}

// slowWay is a round trip that makes everything slow.
const slowWay = 5 * time.Millisecond

// way measures the round trip to Redis: the median of some.
func (d *doctor) way(ctx context.Context) error {
	var took []time.Duration
	for range 21 {
		began := time.Now()
		if err := d.base.Redis.Ping(ctx).Err(); err != nil {
			return fmt.Errorf("ask redis: %w", err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	median := took[len(took)/2]
	state, more := stateOK, ""
	if median > slowWay {
		state, more = stateWarning, ": each row takes some round trips; bring worker and Redis closer together"
	}
	d.sayf(state, "way", "%s to Redis and back%s", median.Round(10*time.Microsecond), more)
	return nil
}

// badClock is a difference of clocks that harms: asynq's leases of 30 s are
// compared with the workers' clocks.
const strangeClock, badClock = time.Second, 10 * time.Second

// clocks compares this machine's with Redis'.
func (d *doctor) clocks(ctx context.Context) error {
	began := time.Now()
	at, err := d.base.Redis.Time(ctx).Result()
	if err != nil {
		return fmt.Errorf("ask redis for the time: %w", err)
	}
	off := at.Sub(began.Add(time.Since(began) / 2)).Abs()
	switch {
	case off >= badClock:
		d.sayf(stateWrong, "clock", "this machine's and Redis' differ by %s: tasks are taken from living workers; use NTP", off.Round(time.Millisecond))
	case off >= strangeClock:
		d.sayf(stateWarning, "clock", "this machine's and Redis' differ by %s: use NTP", off.Round(time.Millisecond))
	default:
		d.sayf(stateOK, "clock", "within %s of Redis'", off.Round(time.Millisecond))
	}
	return nil
}

// credentials looks at portals, and whether their credentials open.
func (d *doctor) credentials(ctx context.Context) error {
	all, held, gone := 0, 0, 0
	opened, noKey := d.base.OpenedRegistry(d.cfg)
	var ids []string
	err := d.base.Registry.Each(ctx, func(p portals.Portal) error {
		all++
		if p.Held != nil {
			held++
		}
		if p.Gone != nil {
			gone++
		}
		ids = append(ids, p.ID)
		return nil
	})
	if err != nil {
		return err
	}
	switch {
	case noKey == nil:
		err = d.opens(ctx, opened, ids)
	case all > 0:
		d.sayf(stateWrong, "keys", "%v", noKey)
	default:
		d.sayf(stateWarning, "keys", "%v", noKey)
	}
	if err != nil {
		return err
	}
	if all == 0 {
		return d.noPortals(ctx)
	}
	state, see := stateOK, ""
	if held > 0 {
		state, see = stateWarning, "; see them with: enqueue portals list --state held"
	}
	d.sayf(state, "portals", "%s: %s held, %s gone%s", report.Counted(all, "portal"), report.Count(held), report.Count(gone), see)
	return nil
}

// noPortals says whether there were any.
func (d *doctor) noPortals(ctx context.Context) error {
	at, err := d.base.LostPortals(ctx)
	if err != nil {
		return err
	}
	if at.IsZero() {
		d.sayf(stateWarning, "portals", "none are stored: import them with enqueue portals import; if there were some, this Redis has lost its data, or is another one")
		return nil
	}
	d.sayf(stateWrong, "portals", "none are stored, and there were some until %s, when workers saw them vanish: bring back a backup of Redis, or import the portals and submit the rows again", at.Local().Format("2006-01-02 15:04:05"))
	return nil
}

// opens says how many credentials do not open under the keys that are there.
func (d *doctor) opens(ctx context.Context, opened *portals.Registry, ids []string) error {
	closed, example := 0, ""
	for _, id := range ids {
		_, err := opened.Get(ctx, id)
		switch {
		case errors.Is(err, portals.ErrSealed):
			closed, example = closed+1, err.Error()
		case err != nil && !errors.Is(err, portals.ErrUnknown):
			return err
		}
	}
	if closed > 0 {
		d.sayf(stateWrong, "keys", "%s of %s do not open, for example: %s", report.Count(closed), report.Counted(len(ids), "portal"), example)
		return nil
	}
	d.sayf(stateOK, "keys", "%s; all credentials open", d.cfg.Keys)
	return nil
}

// queues looks for those that nobody works on.
func (d *doctor) queues(ctx context.Context) error {
	names, err := d.base.Registry.Queues(ctx)
	if err != nil {
		return err
	}
	there, err := fleetOf(ctx, d.base)
	if err != nil {
		return err
	}
	d.workers(there)
	known, err := d.base.Inspector.Queues()
	if err != nil {
		return fmt.Errorf("look for queues: %w", err)
	}
	for _, q := range names {
		if !slices.Contains(known, q) { // nothing was ever queued there
			continue
		}
		info, err := d.base.Inspector.GetQueueInfo(q)
		if err != nil {
			return fmt.Errorf("look at queue %s: %w", q, err)
		}
		waiting := info.Pending + info.Active + info.Scheduled + info.Retry
		switch {
		case info.Paused:
			d.sayf(stateWrong, "queue "+q, "is paused, with %s waiting", report.Counted(waiting, "row"))
		case !there.Served[q] && waiting > 0:
			d.sayf(stateWrong, "queue "+q, "no worker serves it, with %s waiting", report.Counted(waiting, "row"))
		default:
			d.sayf(stateOK, "queue "+q, "%s waiting", report.Counted(waiting, "row"))
		}
	}
	return nil
}

// workers says how many there are.
func (d *doctor) workers(there fleet.Fleet) {
	rest := restWords(there.Paused, there.Installs)
	switch {
	case there.Workers > 0 && rest == "":
		d.sayf(stateOK, "workers", "%s", report.Counted(there.Workers, "worker"))
	case there.Workers > 0:
		d.sayf(stateWarning, "workers", "%s%s", report.Counted(there.Workers, "worker"), rest)
	case rest != "":
		d.sayf(stateWarning, "workers", "none is at work on this Redis%s", rest)
	default:
		d.sayf(stateWarning, "workers", "none is alive on this Redis, or none whose SECRETS_KEY opens any credentials")
	}
}

// tokens looks for rows that wait for new tokens. A token that is just being
// renewed is no more than a warning.
func (d *doctor) tokens(ctx context.Context) error {
	names, err := d.base.Registry.Queues(ctx)
	if err != nil {
		return err
	}
	looked, reasons, keys := 0, map[string]int{}, map[string]int{}
	_, err = putOff(ctx, d.base.Inspector, names, pageSize, func(t *asynq.TaskInfo) {
		looked++
		if why, ok := outlook.WaitsForKey(t.LastErr); ok {
			keys[why]++
			return
		}
		if why, ok := outlook.WaitsForToken(t.LastErr); ok {
			reasons[why]++
		}
	})
	if err != nil {
		return err
	}
	if n := sum(keys); n > 0 {
		d.sayf(stateWrong, "keys", "%s of %s that are put off %s for a worker with another SECRETS_KEY: %s", report.Count(n), report.Counted(looked, "row"), waitWord(n), mostOften(keys))
	}
	if len(reasons) == 0 {
		d.sayf(stateOK, "tokens", "none of %s that are put off waits for a new one", report.Counted(looked, "row"))
		return nil
	}
	state := stateWarning
	for why := range reasons {
		if !outlook.BeingRenewed(why) {
			state = stateWrong
		}
	}
	d.sayf(state, "tokens", "%s of %s that are put off wait for a new token: %s", report.Count(sum(reasons)), report.Counted(looked, "row"), mostOften(reasons))
	return nil
}

func sum(reasons map[string]int) int {
	all := 0
	for _, n := range reasons {
		all += n
	}
	return all
}

// archives repeats what /readyz warns of.
func (d *doctor) archives(ctx context.Context) error {
	for _, w := range d.base.Warnings(ctx) {
		if strings.HasPrefix(w, "queue ") {
			d.sayf(stateWarning, "archive", "%s", w)
		}
	}
	return nil
}

// mended says what the sweeper has had to do so far.
func (d *doctor) mended(ctx context.Context) error {
	totals, err := sweep.Totals(ctx, d.base.Redis)
	if err != nil {
		return err
	}
	var parts []string
	for _, kind := range sweep.Kinds() {
		if n := totals[kind]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", report.Count(int(n)), kind))
		}
	}
	if len(parts) == 0 {
		d.sayf(stateOK, "mended", "nothing, ever")
		return nil
	}
	d.sayf(stateOK, "mended", "since this Redis was set up: %s", strings.Join(parts, ", "))
	return nil
}
