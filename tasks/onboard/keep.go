// Keeping an event: into the queue, in bounded time whatever Redis does.

package onboard

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/hibiken/asynq"
)

// keptFor is how long an event that was worked on stays known: a form that is
// sent again within that time costs nothing.
const keptFor = 10 * time.Minute

// taskTimeout ends work on an event that hangs, far above what a proof and a
// few dozen questions to Redis take.
const taskTimeout = 5 * time.Minute

// keep puts an event into the queue. The outcome is OutcomeKept, also when it is
// there already; any other means that the portal has to send it again. err is
// set only where it tells an operator something.
func (s *Service) keep(e event) (outcome string, err error) {
	if s.full.Load() {
		return OutcomeFull, nil
	}
	if !s.rate.AllowN(s.now(), 1) {
		return OutcomeBusy, nil
	}
	select {
	case s.keeping <- struct{}{}:
	default:
		return OutcomeBusy, nil
	}
	ended, cancel, ok := s.enqueue(e)
	if !ok { // the service has stopped
		return OutcomeBusy, nil
	}
	defer cancel()
	// A client that heeds no context must not keep the portal waiting.
	timer := time.NewTimer(s.keepWithin)
	defer timer.Stop()
	select {
	case err = <-ended:
	case <-timer.C:
		err = fmt.Errorf("no answer from Redis within %v", s.keepWithin)
	}
	if err != nil {
		return OutcomeUnkept, err
	}
	return OutcomeKept, nil
}

// enqueue queues an event in a goroutine, which Stop waits for, and which gives
// the slot back that its caller has taken. Nothing is done after Stop.
func (s *Service) enqueue(e event) (ended <-chan error, cancel context.CancelFunc, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		<-s.keeping
		return nil, nil, false
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.keepWithin)
	result := make(chan error, 1)
	s.keepers.Go(func() {
		defer func() { <-s.keeping }()
		result <- s.queueEvent(ctx, e)
	})
	return result, cancel, true
}

// queueEvent queues an event. One that is in the queue in any state is kept.
func (s *Service) queueEvent(ctx context.Context, e event) error {
	body, err := e.seal(s.cfg.Keys, s.now())
	if err != nil {
		return err
	}
	task := asynq.NewTask(e.taskType(), body,
		asynq.TaskID(e.id()), asynq.Queue(Queue), asynq.Retention(keptFor), asynq.Timeout(taskTimeout),
		// How long an event is tried is reckoned from when it was kept: asynq would
		// archive a task that is only put off once its own limit is reached.
		asynq.MaxRetry(math.MaxInt32))
	_, err = s.cfg.Queue.EnqueueContext(ctx, task)
	if err == nil || errors.Is(err, asynq.ErrTaskIDConflict) {
		return nil
	}
	return fmt.Errorf("queue an event: %w", err)
}
