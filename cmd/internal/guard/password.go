// The password, and what guesses at it cost.

package guard

import (
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// door asks for the user and the password.
type door struct {
	want    [2][sha256.Size]byte
	guesses *throttle // by address
	passes  passes
	known   *throttle // by pass
	log     *slog.Logger
}

func newDoor(c Config) door {
	return door{
		want: digest(c.User, c.Password.Reveal()), guesses: newThrottle(time.Now),
		passes: newPasses(c.Key, time.Now), known: newThrottle(time.Now), log: c.Log,
	}
}

// digest makes texts of one length of what is compared, so that the time it takes
// tells nothing, not even a length.
func digest(user, password string) [2][sha256.Size]byte {
	return [2][sha256.Size]byte{sha256.Sum256([]byte(user)), sha256.Sum256([]byte(password))}
}

func (d door) wrap(pages http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, ok := r.BasicAuth()
		if !ok {
			refuseStranger(w, r) // a browser asks first and signs in then
			return
		}
		from := origin(r.RemoteAddr)
		guesses, who := d.guesses, from
		pass, left := d.passes.of(r)
		if pass != "" {
			guesses, who = d.known, pass
		}
		switch guesses.try(who, func() bool { return d.right(user, password) }) {
		case right:
			if left < passLife/2 {
				d.passes.give(w, r)
			}
			pages.ServeHTTP(w, r)
		case tooMany:
			refuseGuesser(w, r)
		case lastWrong:
			d.log.WarnContext(r.Context(), "somebody guesses at the dashboard's password", "from", from)
			refuseStranger(w, r)
		case wrong:
			refuseStranger(w, r)
		}
	})
}

func (d door) right(user, password string) bool {
	got := digest(user, password)
	u := subtle.ConstantTimeCompare(got[0][:], d.want[0][:])
	p := subtle.ConstantTimeCompare(got[1][:], d.want[1][:])
	return u&p == 1
}

// origin is where guesses are counted together: an address, or the /64 network
// that one IPv6 subscriber has at hand. What a proxy says of it is not believed, as
// anybody may say it.
func origin(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return remote
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	if ip = ip.Unmap().WithZone(""); ip.Is6() {
		if net64, err := ip.Prefix(64); err == nil {
			return net64.String()
		}
	}
	return ip.String()
}

const (
	// guessBurst wrong guesses an address or a pass has free, and one more each guessEvery:
	// 17,000 a day, of the 10^17 passwords that 12 small letters make.
	guessBurst = 10
	guessEvery = 5 * time.Second
	// guessers is how many of either are counted apart. All others share one
	// count, so that many addresses are no way around it.
	guessers = 1024
)

// throttle limits wrong guesses. Its memory is bounded.
type throttle struct {
	now func() time.Time

	mu     sync.Mutex
	known  map[string]*rate.Limiter
	others *rate.Limiter
	tidied time.Time // when it was last looked for counts that have run out
}

func newThrottle(now func() time.Time) *throttle {
	return &throttle{now: now, known: map[string]*rate.Limiter{}, others: newGuesses()}
}

func newGuesses() *rate.Limiter { return rate.NewLimiter(rate.Every(guessEvery), guessBurst) }

// answer is what became of a try.
type answer int

const (
	right answer = iota
	wrong
	lastWrong // the next one is too many
	tooMany   // nothing was compared
)

// try compares, unless there were too many wrong guesses. One at a time: what is
// tried at once would otherwise all be compared before the first is counted.
func (t *throttle) try(from string, check func() bool) answer {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	count, ok := t.known[from]
	if !ok && len(t.known) >= guessers && now.Sub(t.tidied) >= guessEvery {
		t.tidied = now
		t.forget(now)
	}
	switch {
	case ok:
	case len(t.known) < guessers:
		count = newGuesses() // kept once it has guessed wrong
	default:
		count = t.others
	}
	if count.TokensAt(now) < 1 {
		return tooMany
	}
	if check() {
		return right
	}
	if count != t.others {
		t.known[from] = count
	}
	count.AllowN(now, 1)
	if count.TokensAt(now) < 1 {
		return lastWrong
	}
	return wrong
}

// forget drops the counts that have run out: they say nothing more.
func (t *throttle) forget(now time.Time) {
	maps.DeleteFunc(t.known, func(_ string, l *rate.Limiter) bool { return l.TokensAt(now) >= guessBurst })
}
