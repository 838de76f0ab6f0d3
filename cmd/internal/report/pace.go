// How fast a run is at present.

package report

import "time"

// window is what the rate is measured over: long enough to be steady when
// portals pause, short enough to follow them.
const window = 30 * time.Second

// pace keeps samples of the last window, one a second at most.
type pace struct {
	samples []sample
}

type sample struct {
	at   time.Time
	done int
}

// add notes how much was done at a time. Times do not go back.
func (p *pace) add(at time.Time, done int) {
	last := len(p.samples) - 1
	if last > 0 && at.Sub(p.samples[last-1].at) < time.Second {
		p.samples[last] = sample{at, done}
		return
	}
	p.samples = append(p.samples, sample{at, done})
	// The newest sample that is older than the window stays as its beginning.
	for len(p.samples) > 2 && at.Sub(p.samples[1].at) >= window {
		p.samples = p.samples[1:]
	}
}

// rate is rows a second over the window.
func (p *pace) rate() float64 {
	if len(p.samples) < 2 {
		return 0
	}
	first, last := p.samples[0], p.samples[len(p.samples)-1]
	seconds := last.at.Sub(first.at).Seconds()
	if seconds <= 0 || last.done <= first.done {
		return 0
	}
	return float64(last.done-first.done) / seconds
}
