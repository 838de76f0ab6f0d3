// What portals saw of a fleet.

package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"botfleet/bitrix/sandbox"
)

// The codes of the two limits.
const (
	overRate = "QUERY_LIMIT_EXCEEDED"
	overWork = "OPERATION_TIME_LIMIT"
)

// sight is what the portals of a fleet saw, all together.
type sight struct {
	stats sandbox.Stats
	first time.Time // the first request came
	last  time.Time // the last row was recorded; until then, the last request ended
	idle  time.Duration
	busy  float64 // requests in work, on the average
	calls int     // registrations, refused ones included
}

// took is from the first request to the last registration.
func (s sight) took() time.Duration { return s.last.Sub(s.first) }

func (s sight) String() string {
	return fmt.Sprintf("%.1f s, %d requests (%d batches), %.1f registrations each, %.2f in work on the average, at most %d; none in work for %.1f s; 503: %d, 429: %d",
		s.took().Seconds(), s.stats.Requests, s.stats.Batches, float64(s.calls)/float64(max(1, s.stats.Requests)),
		s.busy, s.stats.MaxConcurrent, s.idle.Seconds(), s.stats.Errors[overRate], s.stats.Errors[overWork])
}

// look gathers what the portals have seen so far.
func (f *fleet) look() sight {
	s := sight{stats: f.box.Stats()}
	s.calls = s.stats.Methods["imbot.register"]
	all := f.requests()
	if len(all) == 0 {
		return s
	}
	s.first, s.last = all[0].At, all[0].At
	var work time.Duration
	for _, r := range all {
		if gap := r.At.Sub(s.last); gap > 0 {
			s.idle += gap
		}
		s.last = later(s.last, r.At.Add(r.Duration))
		work += r.Duration
	}
	s.busy = work.Seconds() / max(s.took().Seconds(), 1e-3)
	return s
}

// requests are those of all portals, as they came.
func (f *fleet) requests() []sandbox.RequestLog {
	var all []sandbox.RequestLog
	for _, st := range f.box.Portals() {
		all = append(all, st.Requests()...)
	}
	slices.SortFunc(all, func(a, b sandbox.RequestLog) int { return a.At.Compare(b.At) })
	return all
}

// trace writes what the portals saw into a file, if that is asked for: when
// each request came and how long it took, in ms, what it was and its answer.
func (b *bench) trace(f *fleet, what string) error {
	if b.traces == "" {
		return nil
	}
	all := f.requests()
	text := []byte("ms,took_ms,method,commands,status,code\n")
	for _, r := range all {
		text = fmt.Appendf(text, "%d,%d,%s,%d,%d,%s\n", r.At.Sub(all[0].At).Milliseconds(), r.Duration.Milliseconds(),
			r.Method, r.Commands, r.Status, r.Code)
	}
	name := strings.NewReplacer(" ", "-", ",", "", "=", "-").Replace(what) + ".csv"
	if err := os.WriteFile(filepath.Join(b.traces, name), text, 0o600); err != nil {
		return fmt.Errorf("write a trace: %w", err)
	}
	return nil
}

// mostPerWindow is how many of some moments fell into one window, at most, of
// windows that follow each other from the beginning.
func mostPerWindow(from time.Time, window time.Duration, at []time.Time) int {
	counts := map[int64]int{}
	for _, t := range at {
		counts[int64(t.Sub(from)/window)]++
	}
	most := 0
	for _, n := range counts {
		most = max(most, n)
	}
	return most
}

// refusedWork is when registrations were refused for their operating time.
func refusedWork(st *sandbox.PortalState) (at []time.Time) {
	for _, v := range st.Violations() {
		if v.Kind == sandbox.OverOperating {
			at = append(at, v.At)
		}
	}
	return at
}

// percentile is the value that p of 100 values do not exceed.
func percentile[T cmp.Ordered](p int, values []T) (v T) {
	if len(values) == 0 {
		return v
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[(len(sorted)*p+99)/100-1]
}
