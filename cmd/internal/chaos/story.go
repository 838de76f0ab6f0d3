// The story of a seed: what there is, what is asked for, and what goes wrong when.

package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"botfleet/cmd/internal/cable"
)

// story is all that a seed decides.
type story struct {
	seed    uint64
	batch   string // BATCH of the workers
	portals []portalPlan
	runs    []runPlan
	events  []event
}

// over is when the last thing that goes wrong has ended, and all is submitted.
func (s *story) over() (last time.Duration) {
	for _, e := range s.events {
		last = max(last, e.end())
	}
	for i := range s.runs {
		last = max(last, s.runs[i].at+s.runs[i].killed)
	}
	return last
}

// rowPlan is one row of input.
type rowPlan struct {
	portal int
	code   string
	other  bool // of another application than the portal's own
	bad    bool // not valid: refused
}

// runPlan is one submission.
type runPlan struct {
	at     time.Duration
	wish   string // --on-existing
	rows   []rowPlan
	killed time.Duration // after its run began the producer is killed; 0: it is not
}

// what names a kind of event.
type what string

const (
	killWorker   what = "kill worker"
	freezeWorker what = "freeze worker"
	stopWorker   what = "stop worker"
	killRedis    what = "kill redis"
	stopRedis    what = "stop redis"
	cutNetwork   what = "cut network"
	clicks       what = "clicks"
	rename       what = "rename portal"
	expire       what = "expire tokens"
	revoke       what = "revoke refresh token"
	block        what = "block caller"
)

// event is something that goes wrong.
type event struct {
	at, lasts time.Duration
	what      what
	who       int        // worker or portal; -1 all of them
	how       cable.Mode // of a cut
	forgets   bool       // a cut: connections that were there are dead when it heals
	n         int        // how many clicks
}

func (e event) end() time.Duration { return e.at + e.lasts }

func (e event) String() string {
	return fmt.Sprintf("%6.1fs %s %d %s for %.1fs (n %d, forgets %v)", e.at.Seconds(), e.what, e.who, e.how, e.lasts.Seconds(), e.n, e.forgets)
}

const (
	workers  = 3
	runCount = 8
)

// author writes a story.
type author struct {
	*rand.Rand
	o options
	s story
}

// write makes a seed's story: the same for the same options.
func write(seed uint64, o options) story {
	a := &author{Rand: rand.New(rand.NewPCG(seed, 0xb07f1ee7)), o: o} //nolint:gosec // luck that can be repeated
	a.s.seed = seed
	a.s.batch = []string{"auto", "auto", "off", "always"}[seed%4]
	a.portals()
	a.rows()
	a.workers()
	a.redis()
	a.cuts()
	a.operator()
	a.owners()
	slices.SortStableFunc(a.s.events, func(x, y event) int { return int(x.at - y.at) })
	return a.s
}

// between draws a time.
func (a *author) between(least, most time.Duration) time.Duration {
	return least + time.Duration(a.Int64N(int64(max(most-least, 1))))
}

// part is a share of the troubled time.
func (a *author) part(share float64) time.Duration {
	return time.Duration(share * float64(a.o.trouble))
}

func (a *author) add(e event) { a.s.events = append(a.s.events, e) }

// rows divides the rows over the portals and the runs. Some repeat an earlier
// one, some have its CODE and another application, some are not valid.
func (a *author) rows() {
	perRun := a.o.rows / runCount
	fresh := make([]int, a.o.portals) // CODEs given out
	var earlier []rowPlan             // each CODE once
	seen := map[string]bool{}
	for n := range runCount {
		r := runPlan{at: a.part(0.7 * float64(n) / runCount), wish: "keep"}
		if n%2 == 1 {
			r.wish = "update"
		}
		if n%3 == 1 {
			r.killed = a.between(10*time.Millisecond, 700*time.Millisecond)
		}
		var rows []rowPlan
		repeated := map[int]bool{} // no CODE comes twice in one file
		for range perRun {
			draw := a.Float64()
			again := 0
			if len(earlier) > 0 {
				again = a.IntN(len(earlier))
			}
			if draw < 0.08 && len(earlier) > 0 && !repeated[again] {
				repeated[again] = true
				row := earlier[again]
				row.other = draw < 0.02 && !a.s.portals[row.portal].oauth
				rows = append(rows, row)
				continue
			}
			p := a.IntN(a.o.portals)
			fresh[p]++
			rows = append(rows, rowPlan{portal: p, code: fmt.Sprintf("bot_%d", fresh[p]), bad: draw > 0.99})
		}
		for _, row := range rows {
			if fresh := !seen[botKey(row.portal, row.code)]; fresh && !row.bad {
				seen[botKey(row.portal, row.code)] = true
				earlier = append(earlier, row)
			}
		}
		r.rows = rows
		a.s.runs = append(a.s.runs, r)
	}
}

// How long workers are frozen. Sending marks last for mark; a lease of asynq's for
// 30 s; and 60 to 120 s after its worker's end a task is run again elsewhere.
const (
	shortFreeze = mark + 2*time.Second
	leaseFreeze = 36 * time.Second
	longFreeze  = 85 * time.Second
)

// workers lets each worker die, freeze and be stopped, at times of its own. The
// first thing that happens to each is another. A seed's longest freeze is beyond
// the marks, beyond a lease, or so long that its tasks are at work elsewhere.
func (a *author) workers() {
	first := []what{killWorker, freezeWorker, stopWorker}
	a.Shuffle(len(first), func(i, k int) { first[i], first[k] = first[k], first[i] })
	longest := []time.Duration{longFreeze, leaseFreeze, shortFreeze}[a.s.seed%3]
	for who := range workers {
		at := a.between(a.part(0.05), a.part(0.2))
		for n := 0; at < a.part(0.75); n++ {
			e := event{at: at, who: who, what: first[who]}
			if n > 0 {
				e.what = []what{killWorker, freezeWorker, stopWorker, stopWorker}[a.IntN(4)]
			}
			switch e.what {
			case killWorker:
				e.lasts = a.between(0, 5*time.Second)
			case freezeWorker:
				e.lasts = shortFreeze + a.between(0, 3*time.Second)
				if n == 0 {
					e.lasts = max(longest, e.lasts)
				}
			default:
				e.lasts = a.between(0, 2*time.Second)
			}
			a.add(e)
			at = e.end() + a.between(6*time.Second, 16*time.Second)
		}
	}
}

// redis lets Redis die and be away. Each fourth seed has an outage as long as a lease.
func (a *author) redis() {
	for n := range 3 {
		e := event{what: killRedis, at: a.part(0.12+0.28*float64(n)) + a.between(0, a.part(0.15)), lasts: a.between(0, 2*time.Second)}
		if n == 1 {
			e.what, e.lasts = stopRedis, a.between(3*time.Second, 9*time.Second)
			if a.s.seed%4 == 3 {
				e.lasts = a.between(24*time.Second, 32*time.Second)
			}
		}
		a.add(e)
	}
}

// cuts disconnects programs from Redis.
func (a *author) cuts() {
	modes := []cable.Mode{cable.Refusing, cable.Dead, cable.Deaf, cable.Dead, cable.Deaf}
	a.Shuffle(len(modes), func(i, k int) { modes[i], modes[k] = modes[k], modes[i] })
	for n, m := range modes {
		a.add(event{
			what: cutNetwork, how: m, who: a.IntN(workers+2) - 1, forgets: a.IntN(2) == 0, // the last is the producers'
			at: a.part(0.08+0.17*float64(n)) + a.between(0, a.part(0.1)), lasts: a.between(time.Second, 12*time.Second),
		})
	}
}

// operator clicks on the dashboard: about one task in fifty in all.
func (a *author) operator() {
	for n := range 20 {
		a.add(event{what: clicks, at: a.part(0.05 + 0.045*float64(n)), n: max(a.o.rows/1000, 1)})
	}
}

// owners do things to their portals.
func (a *author) owners() {
	var oauth, webhooks []int
	for i, p := range a.s.portals {
		if p.oauth {
			oauth = append(oauth, i)
		} else {
			webhooks = append(webhooks, i)
		}
	}
	a.Shuffle(len(oauth), func(i, k int) { oauth[i], oauth[k] = oauth[k], oauth[i] })
	a.Shuffle(len(webhooks), func(i, k int) { webhooks[i], webhooks[k] = webhooks[k], webhooks[i] })
	anytime := func() time.Duration { return a.between(a.part(0.1), a.part(0.9)) }
	for _, who := range append(slices.Clone(webhooks[:3]), oauth[:2]...) {
		a.add(event{what: rename, who: who, at: anytime()})
	}
	// A renewal whose answer was lost is left alone for a minute, perhaps twice: all
	// of it has to be over in time.
	for n := range 2 {
		a.add(event{what: expire, who: -1, at: a.part(0.1+0.15*float64(n)) + a.between(0, a.part(0.2))})
	}
	a.add(event{what: revoke, who: oauth[2], at: anytime()})
	for _, who := range webhooks[3:5] {
		a.add(event{what: block, who: who, at: anytime()})
	}
}
