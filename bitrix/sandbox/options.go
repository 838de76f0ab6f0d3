// Options of a sandbox.

package sandbox

import "time"

// Option configures a sandbox.
type Option func(*options)

type options struct {
	scale   float64
	seed    uint64
	now     func() time.Time
	logSize int
	faults  []Fault
	portals []Portal
	unknown *Portal
	problem error

	apps                    map[string]Secret // by client_id
	accessLife, refreshLife time.Duration
	strictRotation          bool
	authFaults              []Fault
	authLatency             time.Duration
	authRate                float64
	authBurst               int
}

// defaultLog is how many requests, and as many violations, a portal remembers.
const defaultLog = 256

func defaults() options {
	return options{scale: 1, now: time.Now, logSize: defaultLog, accessLife: accessLife, refreshLife: refreshLife}
}

// WithPortals adds portals.
func WithPortals(p ...Portal) Option {
	return func(o *options) { o.portals = append(o.portals, p...) }
}

// WithUnknownHosts makes a portal like this one for every Host that is asked
// for and not known, up to 100,000. Without it such hosts answer 404.
func WithUnknownHosts(like Portal) Option {
	return func(o *options) { o.unknown = &like }
}

// WithScale multiplies every period of the sandbox: windows, limits of
// operating time, service times, latencies, lives of issued tokens, times of
// faults; and divides the drain of request buckets. 0.01 makes ten minutes six
// seconds. Values that are not positive are ignored. [Token.Expires] is a point
// in time, not scaled.
func WithScale(factor float64) Option {
	return func(o *options) {
		if factor > 0 {
			o.scale = factor
		}
	}
}

// WithSeed makes the decisions of faults and jitter others.
func WithSeed(seed uint64) Option { return func(o *options) { o.seed = seed } }

// WithFaults gives every portal these faults; times count from when the portal
// is added, and so does Count, for each portal by itself.
func WithFaults(f ...Fault) Option {
	return func(o *options) {
		for _, fault := range f {
			if err := fault.check(); err != nil {
				o.problem = err
				continue
			}
			o.faults = append(o.faults, fault)
		}
	}
}

// WithClock replaces time.Now for limits, expiry and time stamps. Waiting
// (service times, latencies, delays) still takes real time.
func WithClock(now func() time.Time) Option { return func(o *options) { o.now = now } }

// WithLogSize sets how many requests and violations each portal remembers; the
// counters do not depend on it. Default 256.
func WithLogSize(n int) Option { return func(o *options) { o.logSize = max(0, n) } }
