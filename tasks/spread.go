// Spreading: rows that their portal cannot take soon are not queued to be
// fetched at once, but for when it is expected to take them.

package tasks

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/ratelimit"
)

// Line gives waiting rows their places; a [ratelimit.Gate] does.
type Line interface {
	Place(ctx context.Context, r ratelimit.LineRequest) ([]ratelimit.Place, error)
}

const (
	// soon is what a portal is expected to take of its rows: for so long at its
	// best rate they are queued at once.
	soon = 5 * time.Second
	// notSoon is the least wait that a row is put off for: due times are whole seconds.
	notSoon = 2 * time.Second
	// placesAtOnce is how many rows are given places with one question.
	placesAtOnce = 500
	// mostBacklogs bounds how many portals a client remembers.
	mostBacklogs = 100_000
)

// spread remembers what it has queued for each portal lately.
type spread struct {
	line  Line
	batch int // rows that a request carries
	now   func() time.Time

	mu       sync.Mutex
	portals  map[string]*backlog
	tidiedAt time.Time
}

// backlog is what a portal has been given to do at once, as far as it cannot
// have done it yet at its best.
type backlog struct {
	rows  float64
	at    time.Time
	lined time.Time // rows stand in line until then: whoever comes goes behind them
}

func newSpread(line Line, batch int, now func() time.Time) *spread {
	return &spread{line: line, batch: max(batch, 1), now: now, portals: make(map[string]*backlog)}
}

// perSecond is how many rows a second a portal takes at best.
func (s *spread) perSecond(p *portals.Portal) float64 {
	return max(p.Limits.Rate, 0) * float64(s.batch)
}

// take notes rows for a portal. The first atOnce of them are queued at once, the
// others go into its line, behind ahead rows that are not in it.
func (s *spread) take(p *portals.Portal, rows int) (atOnce, ahead int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	s.tidy(now)
	b := s.portals[p.ID]
	if b == nil {
		b = &backlog{at: now}
		s.portals[p.ID] = b
	}
	b.rows = max(0, b.rows-s.perSecond(p)*now.Sub(b.at).Seconds())
	b.at = now
	most := float64(max(p.Limits.Burst, 1)*s.batch) + s.perSecond(p)*soon.Seconds()
	if !b.lined.After(now) {
		atOnce = min(rows, int(max(0, most-b.rows)))
	}
	b.rows += float64(atOnce)
	return atOnce, int(b.rows)
}

// stands notes until when a portal's rows stand in line.
func (s *spread) stands(portal string, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.portals[portal]; b != nil && until.After(b.lined) {
		b.lined = until
	}
}

// forgotten is how long a portal is remembered at least.
const forgotten = time.Minute

// tidy forgets portals that have long had nothing to do, once a minute, and any
// where there are too many: then too much is queued at once, which costs time only.
func (s *spread) tidy(now time.Time) {
	full := len(s.portals) >= mostBacklogs
	if !full && now.Sub(s.tidiedAt) < forgotten {
		return
	}
	s.tidiedAt = now
	for id, b := range s.portals {
		if full || now.Sub(b.at) > forgotten && !b.lined.After(now) {
			delete(s.portals, id)
		}
	}
}

// plan sets when each item is to be queued for: its portal's first ones for now.
func (s *spread) plan(ctx context.Context, items []item) error {
	if s.line == nil {
		return nil
	}
	byPortal := make(map[string][]*item)
	for i := range items {
		id := items[i].portal.ID
		byPortal[id] = append(byPortal[id], &items[i])
	}
	for _, own := range byPortal {
		atOnce, ahead := s.take(&own[0].portal, len(own))
		for own = own[atOnce:]; len(own) > 0; {
			n := min(len(own), placesAtOnce)
			if err := s.place(ctx, own[:n], ahead); err != nil {
				return err
			}
			own = own[n:]
		}
	}
	return nil
}

// place puts items of one portal into its line.
func (s *spread) place(ctx context.Context, items []*item, ahead int) error {
	p := &items[0].portal
	r := ratelimit.LineRequest{
		Request: ratelimit.Request{
			Portal: p.ID, Limits: p.Limits, Credential: p.Credential, Method: bitrix.MethodRegister,
			Batched: s.batch > 1, Rows: len(items), Codes: make([]string, len(items)), Order: make([]int64, len(items)),
		},
		Batch: s.batch, Ahead: ahead,
	}
	for i, it := range items {
		r.Codes[i], r.Order[i] = strings.ToLower(it.reg.Bot.Code), it.order
	}
	places, err := s.line.Place(ctx, r)
	if err == nil && len(places) != len(items) {
		err = fmt.Errorf("%d places for %d rows", len(places), len(items))
	}
	if err != nil {
		return fmt.Errorf("find out when %s takes its rows: %w", p.Name, err)
	}
	now := s.now()
	for i, it := range items {
		if places[i].Ask.Sub(now) >= notSoon {
			it.at = places[i].Ask.Truncate(time.Second) // as the queue does
		}
	}
	s.stands(p.ID, places[len(places)-1].Expected)
	return nil
}
