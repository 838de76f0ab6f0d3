// The request rate: a bucket of tokens that can also be given back.

package ratelimit

import (
	"math"
	"time"

	"golang.org/x/time/rate"
)

// bucket is a [rate.Limiter] whose tokens can be given back later, which the
// limiter itself allows only at the instant they were taken.
type bucket struct {
	lim *rate.Limiter
	// returned are tokens given back. They are never spent by themselves:
	// the limiter's own go below zero instead, and what both have is the sum,
	// at most the burst.
	returned float64
}

// newBucket returns a full bucket.
func newBucket(perSecond float64, burst int) bucket {
	return bucket{lim: rate.NewLimiter(rate.Limit(perSecond), burst)}
}

// tokens is how many requests may go at now. Under 0 where some are owed, and
// slightly after rounding.
func (b *bucket) tokens(now time.Time) float64 {
	own := b.lim.TokensAt(now)
	b.returned = min(b.returned, float64(b.lim.Burst())-own)
	return own + b.returned
}

// take takes one token, if there is one.
func (b *bucket) take(now time.Time) bool {
	if waitFor(b.tokens(now), float64(b.lim.Limit())) > 0 {
		return false
	}
	return b.lim.ReserveN(now, 1).OK()
}

// giveBack returns one token for a request that was not sent.
func (b *bucket) giveBack() { b.returned++ }

// charge takes n tokens, whether they are there or not, down to MostOwed below zero.
func (b *bucket) charge(now time.Time, n int) {
	n = min(n, int(math.Ceil(MostOwed+b.tokens(now))))
	for burst := b.lim.Burst(); n > 0; n -= burst {
		b.lim.ReserveN(now, min(n, burst))
	}
	if over := -MostOwed - b.tokens(now); over > 0 {
		b.returned += over
	}
}

// drain empties the bucket at now. What it owes it goes on owing.
func (b *bucket) drain(now time.Time) { b.set(now, min(0, b.tokens(now))) }

// set makes the bucket hold so many tokens at now, or owe them.
func (b *bucket) set(now time.Time, tokens float64) {
	burst := b.lim.Burst()
	b.lim = rate.NewLimiter(b.lim.Limit(), burst)
	b.lim.AllowN(now, burst)
	b.returned = 0
	// Only the limiter's own tokens can be owed: a debt in the others would not drain.
	owed := math.Ceil(max(0, -tokens))
	b.charge(now, int(owed))
	b.returned = tokens + owed
}

// setBurst changes what the bucket holds. A full one stays full; otherwise
// what is missing stays missing, and a larger bucket has yet to fill.
func (b *bucket) setBurst(now time.Time, burst int) {
	old, tokens := b.lim.Burst(), b.tokens(now)
	if burst == old {
		return
	}
	full := tokens >= float64(old)-rounding
	*b = newBucket(float64(b.lim.Limit()), burst)
	if !full {
		b.set(now, max(min(0, tokens), tokens-float64(max(0, old-burst))))
	}
}

// setRate changes the rate from now on.
func (b *bucket) setRate(now time.Time, perSecond float64) {
	b.lim.SetLimitAt(now, rate.Limit(perSecond))
}

func (b *bucket) full(now time.Time) bool {
	return b.tokens(now) >= float64(b.lim.Burst())-rounding
}

// opensAt is when the bucket holds a token at its present rate.
func (b *bucket) opensAt(now time.Time) time.Time {
	return now.Add(waitFor(b.tokens(now), float64(b.lim.Limit())))
}

// rounding is the part of a token that floating point may lose. Lending it
// does no harm: the bucket then holds so much less than none.
const rounding = 1e-9

// waitFor is how long a bucket that holds tokens takes to hold one, in whole
// nanoseconds, rounded up, so that it is open at the instant named.
func waitFor(tokens, perSecond float64) time.Duration {
	missing := 1 - tokens
	if missing <= rounding {
		return 0
	}
	return time.Duration(math.Ceil(missing / perSecond * float64(time.Second)))
}

// A portal that refuses for its rate all the same shares it with others on the
// same source address. Its rate is then taken in thousandths of the plan's.
const (
	wholeShare  = 1000
	leastShare  = 100         // a tenth of the plan's rate is always tried
	shareRise   = 50          // + 5 % of the plan's rate
	shareRiseIn = time.Minute // per minute of peace
)

// lowerShare is the share after a refusal: × 0.7.
func lowerShare(share int) int { return max(leastShare, share*7/10) }

// pace is the part of the plan's rate that is used, and when it next rises.
type pace struct {
	share  int
	riseAt time.Time
}

func (c pace) rate(planned float64) float64 { return planned * float64(c.share) / wholeShare }

// risen is the pace one step up.
func (c pace) risen() pace {
	return pace{share: min(wholeShare, c.share+shareRise), riseAt: c.riseAt.Add(shareRiseIn)}
}

// opensAt is when a bucket that holds tokens at now holds one, while its rate rises.
func (c pace) opensAt(now time.Time, tokens, planned float64) time.Time {
	for {
		perSecond := c.rate(planned)
		at := now.Add(waitFor(tokens, perSecond))
		if c.share >= wholeShare || !at.After(c.riseAt) {
			return at
		}
		tokens += perSecond * c.riseAt.Sub(now).Seconds()
		now, c = c.riseAt, c.risen()
	}
}
