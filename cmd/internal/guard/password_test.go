// Guessing at the password.

package guard

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestGuessesAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := locked(":8080")
		try := func(from, password string) int {
			return ask(t, h, func(r *http.Request) {
				r.RemoteAddr = from
				r.SetBasicAuth(user, password)
			}).StatusCode
		}
		for n := range guessBurst {
			if got := try("192.0.2.1:1000", fmt.Sprint("guess ", n)); got != http.StatusUnauthorized {
				t.Fatalf("guess %d: HTTP %d", n, got)
			}
		}
		if got := try("192.0.2.1:2000", password); got != http.StatusTooManyRequests {
			t.Errorf("after them the right one is looked at: HTTP %d", got)
		}
		if got := try("192.0.2.2:1000", password); got != http.StatusOK {
			t.Errorf("another address: HTTP %d", got)
		}
		time.Sleep(guessEvery) //nolint:forbidigo // synctest's own clock
		if got := try("192.0.2.1:1000", password); got != http.StatusOK {
			t.Errorf("a while later: HTTP %d", got)
		}
		for n := range 3 * guessBurst { // what is right costs nothing
			if got := try("192.0.2.1:1000", password); got != http.StatusOK {
				t.Fatalf("right for the %dth time: HTTP %d", n, got)
			}
		}
		if got := try("192.0.2.1:1000", "x"); got != http.StatusUnauthorized {
			t.Errorf("HTTP %d", got)
		}
		if got := try("192.0.2.1:1000", password); got != http.StatusTooManyRequests {
			t.Errorf("one guess each %v, and not more: HTTP %d", guessEvery, got)
		}
	})
}

// Those of one IPv6 network count as one; a browser's first request, which has no
// password, counts as none.
func TestWhoCountsAsOne(t *testing.T) {
	h := locked(":8080")
	for n := range guessBurst {
		ask(t, h, func(r *http.Request) {
			r.RemoteAddr = fmt.Sprintf("[2001:db8:1:2:%x::1]:1", n)
			r.SetBasicAuth(user, "x")
		})
		ask(t, h, func(r *http.Request) { r.RemoteAddr = "198.51.100.1:1" })
	}
	for from, want := range map[string]int{
		"[2001:db8:1:2:ffff::9]:1": http.StatusTooManyRequests, "[2001:db8:1:3::1]:1": http.StatusOK,
		"198.51.100.1:1": http.StatusOK, "[::ffff:198.51.100.1]:1": http.StatusOK, "no address": http.StatusOK,
	} {
		res := ask(t, h, func(r *http.Request) {
			r.RemoteAddr = from
			r.SetBasicAuth(user, password)
		})
		if res.StatusCode != want {
			t.Errorf("%s: HTTP %d, want %d", from, res.StatusCode, want)
		}
	}
}

func TestManyAddressesAreNoWayAround(t *testing.T) {
	at := time.Unix(1000, 0)
	th := newThrottle(func() time.Time { return at })
	no := func() bool { return false }
	compared := 0
	for n := range 3 * guessers {
		if th.try(strconv.Itoa(n), no) != tooMany {
			compared++
		}
	}
	if compared != guessers+guessBurst || len(th.known) != guessers {
		t.Errorf("%d guesses of %d addresses compared, %d addresses kept", compared, 3*guessers, len(th.known))
	}
	at = at.Add(guessEvery * guessBurst)
	if th.try("late", no) != wrong || len(th.known) != 1 {
		t.Errorf("%d addresses kept that say nothing more", len(th.known))
	}
}

func TestGuessesAtOnceAreCounted(t *testing.T) {
	at := time.Unix(1000, 0)
	th := newThrottle(func() time.Time { return at })
	var compared atomic.Int32
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			th.try("a", func() bool {
				compared.Add(1)
				return false
			})
		})
	}
	all.Wait()
	if n := compared.Load(); n > guessBurst {
		t.Errorf("%d were compared", n)
	}
}
