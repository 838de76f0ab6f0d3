// A portal's state as the scripts keep it: written for them, and read from what
// they have left. state.lua says what the fields hold.

package ratelimit

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// text is a plan as the scripts read it: "rate burst parallel single work full
// window keep", in millionths of a request a second and microseconds.
func (p plan) text(ttl time.Duration) string {
	single := 0
	if p.single {
		single = 1
	}
	return fmt.Sprintf("%.0f %d %d %d %d %d %d %d", math.Round(p.rate*1e6), p.burst, p.parallel, single,
		p.work.Microseconds(), p.full.Microseconds(), p.window.Microseconds(), p.keep(ttl).Microseconds())
}

// fromPeace is how long a rate that was lowered takes to rise to the planned one.
const fromPeace = (wholeShare - leastShare) / shareRise * shareRiseIn

// mostKept bounds how long a state stands; only absurd limits want it longer.
const mostKept = 30 * 24 * time.Hour

// keep is how long after its last use a portal's state cannot matter any more:
// its tickets have expired, its budgets and silence are forgotten, its rate has
// risen and its bucket is full, whatever it owed.
func (p plan) keep(ttl time.Duration) time.Duration {
	fills := fromPeace + seconds(float64(p.burst+MostOwed+1)/p.rate)
	return min(mostKept, ttl+max(remembered*p.window, silenceForgotten+silenceMost, fills)+time.Minute)
}

// stored is a portal's state read from Redis.
type stored struct {
	*portal
	now   time.Time     // the time by which the state goes
	ahead time.Duration // by how much that is ahead of the clock
}

// readPortal reads the fields of a portal's hash. What is missing or broken
// counts as missing, as it does in the scripts.
func (s *Shared) readPortal(id string, fields map[string]string, clock time.Time) stored {
	limits := Limits{}
	p := newPortal(id, limits, s.cfg.Parallel)
	st := stored{portal: p, ahead: time.Duration(oneInt(fields["ahead"])) * time.Microsecond}
	if st.ahead < 0 || st.ahead > farthest {
		st.ahead = 0
	}
	st.now = clock.Add(st.ahead)
	if seen := timeOf(oneInt(fields["seen"])); seen.After(st.now) && seen.Sub(st.now) < farthest {
		st.ahead += seen.Sub(st.now)
		st.now = seen
	}
	if plan, ok := readPlan(fields["plan"]); ok {
		p.plan = plan
	}
	p.releases = natural(oneInt(fields["releases"]))
	p.took = time.Duration(max(0, oneInt(fields["took"]))) * time.Microsecond
	p.readRate(st.now, fields["bucket:"+s.cfg.Egress], fields["pace:"+s.cfg.Egress])
	p.budgets = readBudgets(st.now, fields)
	p.readFlights(st.now, fields["flights"])
	p.readSilence(st.now, fields["silence"])
	if text, held := fields["hold"]; held {
		p.hold = readHold(st.now, text)
	}
	p.advance(st.now, s.cfg.TicketTTL)
	return st
}

// farFromNow bounds what a stored time may lie ahead: nothing ends later than a
// window of a day and its tenth.
const farFromNow = 27 * time.Hour

// timeOf is a stored time; 0 is none.
func timeOf(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

func oneInt(text string) int64 {
	n, _ := readInts(text, 1)
	if len(n) == 0 {
		return 0
	}
	return n[0]
}

// readInts reads whole numbers divided by blanks, at least so many.
func readInts(text string, least int) ([]int64, bool) {
	var all []int64
	for word := range strings.FieldsSeq(text) {
		n, err := strconv.ParseInt(word, 10, 64)
		if err != nil || len(word) > 16 {
			return nil, false
		}
		all = append(all, n)
	}
	return all, len(all) >= least
}

func readPlan(text string) (plan, bool) {
	n, ok := readInts(text, 8)
	if !ok || n[0] <= 0 || n[1] <= 0 || n[2] <= 0 || n[6] < steps || n[7] <= 0 {
		return plan{}, false
	}
	return plan{
		rate: float64(n[0]) / 1e6, burst: int(n[1]), parallel: int(n[2]), single: n[3] == 1,
		work: span(n[4]), full: span(n[5]), window: span(n[6]),
	}, true
}

func natural(n int64) uint64 { return uint64(max(0, n)) }

func span(us int64) time.Duration { return time.Duration(us) * time.Microsecond }

// nano is a token in the scripts.
const nano = 1e9

func (p *portal) readRate(now time.Time, bucketText, paceText string) {
	n, ok := readInts(paceText, 5)
	if ok && n[0] >= leastShare && n[0] <= wholeShare && n[3] >= 0 && n[4] >= 0 &&
		!timeOf(max(n[1], n[2])).After(now.Add(farFromNow)) {
		p.pace = pace{share: int(n[0]), riseAt: timeOf(n[1])}
		p.refusal = refusal{until: timeOf(n[2]), failures: int(n[3]), count: natural(n[4])}
	}
	n, ok = readInts(bucketText, 4)
	if !ok || timeOf(n[1]).After(now) || n[2] < 1 || n[3] < 1 || n[0] < -MostOwed*nano || n[0] > n[2]*nano {
		p.bucket = newBucket(p.pace.rate(p.plan.rate), p.plan.burst)
		return
	}
	p.bucket = newBucket(p.pace.rate(float64(n[3])/1e6), int(n[2]))
	p.bucket.set(timeOf(n[1]), float64(n[0])/nano)
}

func (p *portal) readFlights(now time.Time, text string) {
	for entry := range strings.SplitSeq(text, ";") {
		numbers, field, counted := strings.Cut(entry, " "+budgetPrefix)
		n, ok := readInts(numbers, 5)
		if !ok || timeOf(n[1]).After(now) {
			continue
		}
		f := flight{id: natural(n[0]), at: timeOf(n[1]), rows: int(n[2]), refusals: natural(n[3]), releases: natural(n[4])}
		if key, ok := budgetKeyOf(budgetPrefix + field); ok && counted && len(n) == 9 && p.budgets[key] != nil {
			f.budget, f.reserved, f.grown, f.known, f.sum = p.budgets[key], span(n[5]), span(n[6]), n[7] == 1, span(n[8])
			f.budget.flying++
			f.budget.reserved += f.reserved
		}
		p.flights = append(p.flights, f)
	}
}

func (p *portal) readSilence(now time.Time, text string) {
	n, ok := readInts(text, 7)
	if ok && n[0] >= 1 && n[4] >= 0 && !timeOf(max(n[1], n[2])).After(now) && !timeOf(n[3]).After(now.Add(farFromNow)) {
		p.silence = silence{
			misses: int(n[0]), last: timeOf(n[1]), since: timeOf(n[2]), until: timeOf(n[3]),
			probes: int(n[4]), probe: p.probe(natural(n[5])), booked: n[6] == 1,
		}
	}
	for _, b := range p.budgets {
		b.closed.probe = p.probe(b.closed.probe)
	}
}

// readHold reads a hold. It is no limit: whatever it says, a person must end it.
func readHold(now time.Time, text string) *Hold {
	if parts := strings.SplitN(text, " ", 3); len(parts) == 3 {
		if n, ok := readInts(parts[0]+" "+parts[1], 2); ok {
			return &Hold{Reason: parts[2], Since: time.UnixMicro(n[0]).UTC(), Probes: int(n[1])}
		}
	}
	return &Hold{Reason: text, Since: now}
}

// probe is a probe's ticket, if it is on its way.
func (p *portal) probe(id uint64) uint64 {
	if p.find(id) < 0 {
		return 0
	}
	return id
}

func readBudgets(now time.Time, fields map[string]string) map[budgetKey]*budget {
	all := make(map[budgetKey]*budget)
	for field, text := range fields {
		if key, ok := budgetKeyOf(field); ok {
			if b := readBudget(now, text); b != nil {
				all[key] = b
			}
		}
	}
	return all
}

// budgetNumbers is how many numbers stand before a budget's cells.
const budgetNumbers = 17

func readBudget(now time.Time, text string) *budget {
	n, ok := readInts(text, budgetNumbers)
	if !ok || (len(n)-budgetNumbers)%3 != 0 || len(n) > budgetNumbers+3*(steps+2) || timeOf(n[0]).After(now) {
		return nil
	}
	b := &budget{
		used: timeOf(n[0]), known: n[1] == 1, left: span(max(0, n[3])), absent: int(n[4]),
		cost: cost{work: max(0, n[5]), rows: max(0, n[6]), low: max(0, n[15]), answers: int(min(n[16], enoughAnswers))}, top: span(n[7]), grown: span(n[8]),
		distrusted: n[9] == 1, learned: span(max(0, n[10])), learnedAt: timeOf(n[11]), resetAt: timeOf(n[12]),
	}
	if closed := timeOf(n[13]); !closed.After(now.Add(farFromNow)) {
		b.closed = closure{until: closed, probe: natural(n[14])}
	}
	for c := n[budgetNumbers:]; len(c) > 0; c = c[3:] {
		b.cells = append(b.cells, cell{end: timeOf(c[0]), leaves: earlier(timeOf(c[1]), now.Add(farFromNow)), work: span(c[2])})
		b.sum += span(c[2])
	}
	return b
}
