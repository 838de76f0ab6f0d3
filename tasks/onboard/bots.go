// The bots of an installed portal: submitted once for each install.

package onboard

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/hibiken/asynq"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/tasks"
	"botfleet/tasks/runs"
)

// submitLease is how long a run that was begun, and not ended, counts as being
// added to: longer than its event is tried.
const submitLease = giveUpAfter + time.Hour

// RunID names the run of the bots of a portal's install.
func RunID(in portals.Installed) string {
	return "install-" + in.Portal.ID + "-" + strconv.Itoa(in.Count)
}

// submit queues a portal's bots. That the run is closed says that it was done;
// until then every try submits the same rows under the same numbers.
func (s *Service) submit(ctx context.Context, in portals.Installed) error {
	if s.cfg.Bots == nil {
		return nil
	}
	run := RunID(in)
	info, err := s.cfg.Runs.Get(ctx, run)
	switch {
	case err == nil && !info.Open:
		return nil
	case err != nil && !errors.Is(err, runs.ErrUnknownRun):
		return err
	}
	bots, err := s.cfg.Bots.For(ctx)
	if err != nil {
		return fmt.Errorf("the portal is stored, but not which bots it gets: %w", err)
	}
	if len(bots) == 0 {
		return nil
	}
	if in.Count > 1 {
		if err := s.comeBack(ctx, &in.Portal, bots); err != nil {
			return err
		}
	}
	regs := make([]tasks.Registration, len(bots))
	for i := range bots {
		regs[i] = tasks.Registration{Row: i + 1, Portal: in.Portal.Name, Bot: bots[i]}
	}
	if err := s.cfg.Runs.Open(ctx, run, runs.Begin{Label: "install of " + in.Portal.Name, Lease: submitLease}); err != nil {
		return err
	}
	if _, err := s.cfg.Submitter.Submit(ctx, run, regs...); errors.Is(err, tasks.ErrOtherBot) {
		// The bots were changed between two tries; the rows of the first one stand.
		s.log.Warn("the bots changed while a portal was being installed: where a place in the list has another bot now, the portal gets the earlier one",
			"host", in.Portal.Name, "run", run)
	} else if err != nil {
		return err
	}
	return s.cfg.Runs.Seal(ctx, run)
}

// comeBack prepares the submission of the bots of a portal that was gone.
func (s *Service) comeBack(ctx context.Context, p *portals.Portal, bots []bitrix.Bot) error {
	known := time.NewTimer(s.cfg.CacheAge)
	defer known.Stop()
	select {
	case <-known.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.ctx.Done():
		return &delay{s.now(), stopping}
	}
	return s.forget(p, bots)
}

// forget removes the finished registrations of an earlier install. The portal
// deleted those bots with the application, but the queue would go on answering
// for days that they are registered. What an earlier try of this install has
// registered already stands in its run.
func (s *Service) forget(p *portals.Portal, bots []bitrix.Bot) error {
	for i := range bots {
		id := tasks.TaskID(p.ID, p.Application(bots[i].ClientID), bots[i].Code)
		task, err := s.cfg.Inspector.GetTaskInfo(p.Queue, id)
		switch {
		case errors.Is(err, asynq.ErrTaskNotFound), errors.Is(err, asynq.ErrQueueNotFound):
			continue
		case err != nil:
			return fmt.Errorf("look at task %s: %w", id, err)
		case task.State != asynq.TaskStateCompleted:
			continue
		}
		if err := s.cfg.Inspector.DeleteTask(p.Queue, id); err != nil && !errors.Is(err, asynq.ErrTaskNotFound) {
			return fmt.Errorf("forget task %s: %w", id, err)
		}
	}
	return nil
}
