// The operating budget: how much work one method may still do for one
// credential, direct or batched, within the portal's window.

package ratelimit

import "time"

const (
	// unknownRows is how many rows go in one request while nobody knows what a
	// row costs.
	unknownRows = 5
	// uncountedAfter is how many answers without operating time, none ever
	// having had one, show that the portal counts none. More than one, as
	// answers that are errors have none either.
	uncountedAfter = 3
	// mostOperating is the most that is believed. Above it a portal would have
	// worked a day in ten minutes.
	mostOperating = 24 * time.Hour
	// remembered is how many windows after its last use a budget is forgotten,
	// with the cost and the limit learned.
	remembered = 6
	// limitRise is the part of the limit by which a lower limit that was
	// learned rises per window: 1/100.
	limitRise = 100
	// mostSlack bounds what is added to the time at which a bucket leaves the
	// window, for a portal whose clock is a little late.
	mostSlack = time.Second
)

// budgetKey names a budget. Portals count batched calls apart from direct ones.
type budgetKey struct {
	credential, method string
	batched            bool
}

// cell mirrors one of the portal's buckets: work, and when it leaves the window.
type cell struct {
	end    time.Time // work until then goes into this cell
	leaves time.Time
	work   time.Duration
}

// budget is the work done in the window as far as answers have told it, the
// work reserved by requests on their way, and what rows cost.
type budget struct {
	cells  []cell // oldest first, at most steps+2
	sum    time.Duration
	left   time.Duration // has left the window by our reckoning, which no answer has confirmed
	known  bool          // an answer has told the operating time
	absent int           // answers without operating time while none is known

	reserved time.Duration
	flying   int // requests on their way

	cost  cost
	top   time.Duration // highest operating time told since a bucket left
	grown time.Duration // growth of top, summed up for ever
	// distrusted: a bucket left later than the portal's minutes say; from then
	// on work is taken to stay for a whole window after it was told.
	distrusted bool

	learned   time.Duration // a lower limit than the configured one, 0 = none
	learnedAt time.Time

	resetAt time.Time // operating_reset_at, as last told
	closed  closure
	used    time.Time // last asked or answered
}

// expired says that the budget is not used and no longer remembered.
func (b *budget) expired(now time.Time, window time.Duration) bool {
	return b.flying == 0 && now.Sub(b.used) > remembered*window
}

// settle drops the cells that have left the window. None stays for longer than
// a window from now, should the clock have been set back or the limits changed.
func (b *budget) settle(now time.Time, window time.Duration) {
	n := len(b.cells)
	for n > 0 && b.cells[n-1].leaves.After(now.Add(window)) {
		n--
		b.cells[n].leaves = now.Add(window)
	}
	n = 0
	for n < len(b.cells) && !b.cells[n].leaves.After(now) {
		b.sum -= b.cells[n].work
		if !b.distrusted { // otherwise it is certain
			b.left += b.cells[n].work
		}
		n++
	}
	if n > 0 {
		b.cells = append(b.cells[:0], b.cells[n:]...)
	}
	b.left = min(b.left, mostOperating)
}

// add puts work done until now into the present bucket.
func (b *budget) add(now time.Time, work time.Duration, p plan) {
	if work <= 0 {
		return
	}
	leaves := now.Add(p.window)
	start := now.Add(-time.Duration(now.UnixMicro()%p.step().Microseconds()) * tick)
	if !b.distrusted {
		leaves = earlier(leaves, start.Add(p.window+slack(p.step())))
	}
	b.sum += work
	if n := len(b.cells); n > 0 && (now.Before(b.cells[n-1].end) || n >= steps+2) {
		last := &b.cells[n-1]
		last.work += work
		last.leaves = later(last.leaves, leaves)
		return
	}
	b.cells = append(b.cells, cell{end: start.Add(p.step()), leaves: leaves, work: work})
}

// slack is what the portal's clock may be late: 1 s, less in a short window.
// Portals' buckets are minutes of the clock.
func slack(step time.Duration) time.Duration { return min(mostSlack, part(step, 4)) }

// spread puts work done before anything was known into the window: evenly from
// its oldest bucket, which leaves at resetAt, to the present.
func (b *budget) spread(now time.Time, work time.Duration, p plan) {
	b.cells, b.sum, b.left = b.cells[:0], 0, 0
	n := 1
	if !b.resetAt.IsZero() {
		n += int(now.Add(p.window).Sub(b.resetAt) / p.step())
	}
	n = max(1, min(n, steps))
	for i := n - 1; i > 0; i-- {
		leaves := now.Add(p.window - time.Duration(i)*p.step())
		b.cells = append(b.cells, cell{end: leaves.Add(p.step() - p.window), leaves: leaves, work: part(work, int64(n))})
		b.sum += part(work, int64(n))
	}
	b.add(now, work-b.sum, p)
}

// shrink takes work away, oldest first: it left earlier than thought.
func (b *budget) shrink(work time.Duration) {
	for len(b.cells) > 0 && work > 0 {
		part := min(work, b.cells[0].work)
		b.cells[0].work -= part
		b.sum -= part
		work -= part
		if b.cells[0].work == 0 {
			b.cells = append(b.cells[:0], b.cells[1:]...)
		}
	}
}

// tell takes in the operating time of an answer to a request that ran rows.
// grownBefore is what grown was when the request was sent: answers that came
// since may tell of more, so that this one may be older than what is known.
func (b *budget) tell(now time.Time, operating time.Duration, rows int, grownBefore time.Duration, p plan) {
	b.settle(now, p.window)
	if !b.known {
		b.known, b.top, b.grown = true, operating, operating
		b.spread(now, operating, p)
		return
	}
	most := operating + b.grown - grownBefore // what the sum can be now
	if most < b.top {
		b.top = operating // a bucket has left: nothing is learned of the cost
	} else {
		growth := max(0, operating-b.top)
		b.cost.learn(growth, rows)
		b.top += growth
		b.grown += growth
	}
	switch {
	case operating > b.sum:
		b.add(now, operating-b.sum, p)
	case b.sum > most:
		b.shrink(b.sum - most)
	case most > operating:
		return // older than what is known: it confirms nothing
	}
	b.left = 0
}

// allowed is how much work the window may hold.
func (b *budget) allowed(now time.Time, p plan) time.Duration {
	return lessMargin(b.limit(now, p))
}

// limit is the portal's limit: the configured one, or a lower one that was
// learned and slowly rises again.
func (b *budget) limit(now time.Time, p plan) time.Duration {
	if b.learned == 0 {
		return p.full
	}
	rise := float64(p.full.Microseconds()) / limitRise *
		float64(max(0, now.Sub(b.learnedAt).Microseconds())) / float64(p.window.Microseconds())
	return min(p.full, b.learned+time.Duration(min(rise, float64(mostOperating.Microseconds())))*tick)
}

// room is how many rows a budget has room for. When none: until when, and
// whether a request on its way may make room earlier by returning. Then until
// may be zero: nothing else will.
type room struct {
	rows    int
	until   time.Time
	flights bool
}

// sure is up to where the window's work, with what has left unconfirmed, is
// known to be allowed.
func (b *budget) sure(allowed time.Duration) time.Duration {
	if b.learned > 0 {
		return min(allowed, lessMargin(b.learned))
	}
	return allowed
}

// surely is how many of the n rows that there is room for are certain to be
// allowed. Beyond them, where a bucket may not have left yet or a limit that
// was learned may not have risen, one row at a time finds out: it is quick, and
// its refusal would be the only one.
func (b *budget) surely(n int, perRow, allowed time.Duration) int {
	free := b.sure(allowed) - b.sum - b.left - b.reserved
	return rowsFor(free, perRow, perRow > 0, n)
}

// room says how many of rows may go.
func (b *budget) room(now time.Time, rows int, p plan) room {
	b.settle(now, p.window)
	perRow, known := b.cost.perRow()
	if !known && b.absent >= uncountedAfter {
		return room{rows: rows}
	}
	allowed := b.allowed(now, p)
	n := rowsFor(allowed-b.sum-b.reserved, perRow, known, rows)
	if n == 0 && b.sum == 0 && b.flying == 0 {
		n = 1 // a row that costs more than a window allows has one for itself
	}
	if n > 0 && b.sum+b.left+b.reserved+time.Duration(n)*perRow > b.sure(allowed) {
		n = b.surely(n, perRow, allowed)
		if n == 0 && b.flying > 0 {
			return room{flights: true}
		}
		n = max(1, n)
	}
	if n > 0 {
		return room{rows: n}
	}
	until := b.opensAt(allowed - b.reserved - max(1, perRow))
	waits := until.IsZero() || rowsFor(allowed-b.sum, perRow, known, rows) > 0
	return room{until: until, flights: b.flying > 0 && waits}
}

// opensAt is when no more than most is left in the window, or nothing at all.
// The zero time when that is so already.
func (b *budget) opensAt(most time.Duration) (at time.Time) {
	sum := b.sum
	for _, c := range b.cells {
		if sum <= max(0, most) {
			break
		}
		sum -= c.work
		at = c.leaves
	}
	return at
}

// rowsFor is how many of rows free has room for.
func rowsFor(free, perRow time.Duration, known bool, rows int) int {
	switch {
	case free <= 0:
		return 0
	case !known:
		return min(rows, unknownRows)
	case perRow <= 0:
		return rows
	}
	return int(min(int64(rows), int64(free/perRow)))
}

// refused closes the budget after a refusal all the same: until the reset last
// seen, else a bucket's length further. It also learns why. sum is what was known
// to be done when the refused request was sent.
func (b *budget) refused(now time.Time, sum time.Duration, p plan) {
	b.settle(now, p.window)
	b.closed = closure{until: now.Add(p.step())}
	if b.resetAt.After(now) {
		b.closed.until = b.resetAt
	}
	switch {
	case b.left > 0:
		b.distrust(now, p.window) // what was thought to have left has not
	case b.known && sum >= part(p.full, 10):
		// The limit is lower than thought. A smaller sum says nothing: then
		// the portal counts what no answer shows.
		b.learned, b.learnedAt = lowered(min(sum, b.limit(now, p))), now
	}
}

// lowered is the limit to try after a refusal at sum: a twentieth below, as sum
// is by the last calls' work more than the portal allows.
func lowered(sum time.Duration) time.Duration { return sum - part(sum, 20) }

// distrust stops reckoning with the portal's minutes: work leaves the window
// when it must have left whatever the portal's clock says, a window after it was
// told.
func (b *budget) distrust(now time.Time, window time.Duration) {
	b.distrusted, b.left = true, 0
	for i := range b.cells {
		c := &b.cells[i]
		c.leaves = later(c.leaves, earlier(c.end, now).Add(window))
	}
}

// told keeps operating_reset_at if it can be true: within a window from now,
// and one bucket, as portals may tell it too late.
func (b *budget) told(now, resetAt time.Time, p plan) {
	if resetAt.After(now) && !resetAt.After(now.Add(p.window+p.step())) {
		b.resetAt = earlier(resetAt, now.Add(p.window))
	}
}

// cost is the mean cost of a row: the ratio of two sums that fade alike, so
// that answers out of order, which show the growth of two requests in one, do
// no harm. In whole microseconds and thousandths of a row.
type cost struct {
	work int64
	rows int64
	// low follows the mean down at once and up slowly, in microseconds: an
	// estimate for those that wait. One who is told to come too late stands by
	// while the portal idles; too early costs a question.
	low     int64
	answers int // up to enoughAnswers
}

const (
	// The sums fade by an eighth per answer.
	fade = 8
	// lowRise is the part of itself by which low rises per answer at most: 1/32.
	lowRise = 32
	// enoughAnswers is how many answers make the mean worth waiting by.
	enoughAnswers = 8
)

func (c *cost) learn(growth time.Duration, rows int) {
	if rows <= 0 {
		return
	}
	c.work = c.work - c.work/fade + growth.Microseconds()
	c.rows = c.rows - c.rows/fade + int64(rows)*1000
	mean := c.work * 1000 / c.rows
	if c.answers++; c.answers == 1 {
		c.low = mean
	}
	c.answers = min(c.answers, enoughAnswers)
	c.low = min(mean, c.low+c.low/lowRise+1)
}

// perRow is the mean cost of a row, once known.
func (c *cost) perRow() (time.Duration, bool) {
	if c.rows == 0 {
		return 0, false
	}
	return time.Duration(c.work*1000/c.rows) * time.Microsecond, true
}

// least is what a row costs at least, as far as answers have shown; 0 while too
// few have.
func (c *cost) least() time.Duration {
	if c.answers < enoughAnswers {
		return 0
	}
	return time.Duration(c.low) * time.Microsecond
}
