// Working on a kept event: what asynq calls, and what it is told.

package onboard

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/hibiken/asynq"

	"botfleet/bitrix/portals"
	"botfleet/tasks"
)

const (
	// giveUpAfter is how long an event is tried. The token of an install lives for
	// an hour; what is left of the day is for events whose portal is known, and
	// for an operator to bring a key or Redis back.
	giveUpAfter = 24 * time.Hour
	// The pause before the next try: half of the event's age, so that each is half
	// as long again as the one before.
	shortestPause = 5 * time.Second
	longestPause  = 30 * time.Minute
	// longestDelay is the longest that an event waits for its turn before it asks
	// again: a quarter of its age, up to this.
	longestDelay = 5 * time.Minute
	// earlyEnd is how long an event is tried whose portal does not answer while
	// very many such events wait.
	earlyEnd = time.Minute
)

// worker is the service as asynq's handler.
type worker struct{ s *Service }

// refusal is an event that nothing will come of.
type refusal struct {
	reason string
	advice string // what an operator can do
}

func (r *refusal) Error() string { return r.reason }

// delay is an event for which it is too early, and nothing is wrong.
type delay struct {
	until  time.Time
	reason string
}

func (d *delay) Error() string { return d.reason }

// silence is a portal that gave no answer to a proof.
type silence struct{ err error }

func (s *silence) Error() string { return s.err.Error() }
func (s *silence) Unwrap() error { return s.err }

// ProcessTask works on one event. Whatever strangers sent ends as done, so that
// nothing of theirs fills asynq's archive; what may pass is put off.
func (w worker) ProcessTask(ctx context.Context, task *asynq.Task) error {
	s := w.s
	p, err := decodePayload(task.Payload())
	if err != nil {
		s.meter.Event(OtherEvent, OutcomeUnreadable)
		s.log.Error("a task of the queue of installs was dropped", "err", err)
		return nil
	}
	if s.now().Sub(p.At) > giveUpAfter { // also one that crashed its workers again and again
		s.giveUp(&p, "")
		return nil
	}
	e, err := p.open(s.cfg.Keys)
	if errors.Is(err, errUnreadable) {
		s.meter.Event(labelOf(p.Event), OutcomeUnreadable)
		s.log.Error("a kept event was dropped", "event", labelOf(p.Event), "host", p.Domain, "err", err)
		return nil
	}
	if err != nil {
		return s.putOff(ctx, &p, err)
	}
	outcome, err := s.work(ctx, &p, e)
	if r, refused := errors.AsType[*refusal](err); refused {
		s.refuse(&e, r)
		return nil
	}
	if err != nil {
		return s.putOff(ctx, &p, err)
	}
	s.meter.Event(e.label(), outcome)
	s.log.Info("event of a portal", "event", e.label(), "outcome", outcome, "host", e.domain, "member_id", e.member)
	return nil
}

func (s *Service) work(ctx context.Context, p *payload, e event) (outcome string, err error) {
	if e.name == eventUninstall {
		return s.uninstall(ctx, p, e)
	}
	return s.install(ctx, e)
}

// refuse tells the operator, and nobody else, why an event came to nothing.
func (s *Service) refuse(e *event, r *refusal) {
	s.meter.Event(e.label(), OutcomeRefused)
	s.log.Warn("the "+e.label()+" of a portal was refused", "host", e.domain, "member_id", e.member,
		"reason", r.reason, "what to do", r.advice)
}

func (s *Service) giveUp(p *payload, reason string) {
	s.meter.Event(labelOf(p.Event), OutcomeGivenUp)
	args := []any{"event", labelOf(p.Event), "host", p.Domain, "kept", p.At}
	if reason != "" {
		args = append(args, "last reason", reason)
	}
	s.log.Warn("an event of a portal was given up; have the application installed again", args...)
}

// putOff makes asynq bring the event again, or gives it up.
func (s *Service) putOff(ctx context.Context, p *payload, err error) error {
	now := s.now()
	d, early := errors.AsType[*delay](err)
	if early {
		if now.Sub(p.At) > earlyEnd && s.crowded(ctx) {
			s.giveUp(p, err.Error())
			return nil
		}
		// Of a thousand events for one host each must not ask again every second.
		until := now.Add(min(now.Sub(p.At)/4, longestDelay))
		if until.Before(d.until) {
			until = d.until
		}
		s.meter.Event(labelOf(p.Event), OutcomePutOff)
		return &tasks.Later{Until: until, Reason: d.reason}
	}
	until := now.Add(pause(now.Sub(p.At), rand.Float64())) //nolint:gosec // it spreads, and is no secret
	_, silent := errors.AsType[*silence](err)
	if until.Sub(p.At) > giveUpAfter || silent && now.Sub(p.At) > earlyEnd && s.crowded(ctx) {
		s.giveUp(p, err.Error())
		return nil
	}
	s.meter.Event(labelOf(p.Event), OutcomePutOff)
	level := s.log.Warn
	if silent {
		level = s.log.Debug // strangers may name as many such hosts as they like
	}
	level("an event of a portal is put off", "event", labelOf(p.Event), "host", p.Domain, "until", until, "err", err)
	return &tasks.Later{Until: until, Reason: err.Error()}
}

// pause is the wait before the next try of an event of some age; draw, from 0 to
// 1, spreads those that failed together over a fifth of it.
func pause(age time.Duration, draw float64) time.Duration {
	d := min(max(age/2, shortestPause), longestPause)
	return d + time.Duration(draw*float64(d)/5)
}

// asRefusal makes a refusal of what the registry refuses or does not know.
func asRefusal(err error, advice string) error {
	if r, ok := errors.AsType[*portals.RefusedError](err); ok {
		return &refusal{reason: r.Reason, advice: advice}
	}
	return err
}
