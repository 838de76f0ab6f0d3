// One asks for all, and not often.

package overview

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// asker counts how often it is asked, and takes its time.
type asker struct {
	mu    sync.Mutex
	times int
	takes time.Duration
	err   error
}

func (a *asker) ask(ctx context.Context) (int, error) {
	a.mu.Lock()
	a.times++
	n, takes, err := a.times, a.takes, a.err
	a.mu.Unlock()
	select {
	case <-time.After(takes):
		return n, err
	case <-ctx.Done():
		return n, context.Cause(ctx)
	}
}

func keeping(t *testing.T, f func(t *testing.T, a *asker, k *kept[int])) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a := &asker{}
		l := newLooks(time.Now, slog.New(slog.DiscardHandler))
		defer l.close()
		f(t, a, keep(l, "number", a.ask))
	})
}

func TestManyViewersOneQuestion(t *testing.T) {
	keeping(t, func(t *testing.T, a *asker, k *kept[int]) {
		a.takes = 10 * time.Millisecond
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if got := k.get(t.Context()); got.value != 1 || got.err != nil {
					t.Errorf("%+v", got)
				}
			})
		}
		all.Wait()
		time.Sleep(keptFor - time.Millisecond) //nolint:forbidigo // the bubble's clock
		if got := k.get(t.Context()); got.value != 1 {
			t.Errorf("asked again early: %+v", got)
		}
		time.Sleep(time.Millisecond) //nolint:forbidigo // the bubble's clock
		if got := k.get(t.Context()); got.value != 2 {
			t.Errorf("not asked again: %+v", got)
		}
	})
}

func TestWhatCostsMuchIsKeptLonger(t *testing.T) {
	keeping(t, func(t *testing.T, a *asker, k *kept[int]) {
		a.takes = 500 * time.Millisecond
		k.get(t.Context())
		time.Sleep(restShare*a.takes - time.Millisecond) //nolint:forbidigo // the bubble's clock
		if got := k.get(t.Context()); got.value != 1 {
			t.Errorf("asked again early: %+v", got)
		}
		time.Sleep(time.Millisecond) //nolint:forbidigo // the bubble's clock
		if got := k.get(t.Context()); got.value != 2 {
			t.Errorf("not asked again: %+v", got)
		}
	})
}

func TestNothingIsKeptForLong(t *testing.T) {
	keeping(t, func(t *testing.T, a *asker, k *kept[int]) {
		a.takes = askFor - time.Millisecond
		k.get(t.Context())
		time.Sleep(keptMost) //nolint:forbidigo // the bubble's clock
		if got := k.get(t.Context()); got.value != 2 {
			t.Errorf("not asked again: %+v", got)
		}
	})
}

func TestFailuresAreKeptShortly(t *testing.T) {
	keeping(t, func(t *testing.T, a *asker, k *kept[int]) {
		a.err = errors.New("broken")
		for range 3 {
			if got := k.get(t.Context()); !errors.Is(got.err, a.err) || got.value != 1 {
				t.Errorf("%+v", got)
			}
		}
		time.Sleep(errFor) //nolint:forbidigo // the bubble's clock
		if got := k.get(t.Context()); got.value != 2 {
			t.Errorf("%+v", got)
		}
	})
}

// Nobody is asked again and again who is slow to fail.
func TestSlowFailuresAreKeptLonger(t *testing.T) {
	keeping(t, func(t *testing.T, a *asker, k *kept[int]) {
		a.takes = time.Hour
		if got := k.get(t.Context()); got.err == nil {
			t.Errorf("%+v", got)
		}
		time.Sleep(noticed - time.Millisecond) //nolint:forbidigo // the bubble's clock
		k.get(t.Context())
		if a.times != 1 {
			t.Errorf("asked %d times", a.times)
		}
		time.Sleep(time.Millisecond) //nolint:forbidigo // the bubble's clock
		k.get(t.Context())
		if a.times != 2 {
			t.Errorf("asked %d times", a.times)
		}
	})
}

// A viewer waits for its bound, and the question for its own.
func TestQuestionsAndViewersHaveAnEnd(t *testing.T) {
	keeping(t, func(t *testing.T, a *asker, k *kept[int]) {
		a.takes = time.Hour
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got := k.get(ctx); !errors.Is(got.err, errLate) || time.Since(began) != time.Second {
			t.Errorf("%+v after %v", got, time.Since(began))
		}
		got := k.get(t.Context())
		if got.err == nil || got.err.Error() != "no answer within 2s" || time.Since(began) != askFor || a.times != 1 {
			t.Errorf("%+v after %v, asked %d times", got, time.Since(began), a.times)
		}
	})
}

func TestAFaultEndsNothing(t *testing.T) {
	keeping(t, func(t *testing.T, _ *asker, k *kept[int]) {
		k.ask = func(context.Context) (int, error) { panic("at the page") }
		if got := k.get(t.Context()); got.err == nil {
			t.Errorf("%+v", got)
		}
	})
}

func TestCloseEndsQuestions(t *testing.T) {
	keeping(t, func(t *testing.T, a *asker, k *kept[int]) {
		a.takes = time.Hour
		answers := make(chan answer[int], 1)
		go func() { answers <- k.get(context.Background()) }()
		synctest.Wait()
		began := time.Now()
		k.looks.close()
		if got := <-answers; got.err == nil || time.Since(began) != 0 {
			t.Errorf("%+v after %v", got, time.Since(began))
		}
		time.Sleep(errFor) //nolint:forbidigo // the bubble's clock
		if got := k.get(context.Background()); !errors.Is(got.err, errClosed) {
			t.Errorf("%+v", got)
		}
	})
}
