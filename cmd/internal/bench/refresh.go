// All tokens of a fleet's portals have expired at once.

package main

import (
	"context"
	"fmt"
	"time"

	"botfleet/bitrix/sandbox"
)

const (
	expiredPortals = 10_000
	expiredRows    = 2 // of each
	expiredWorkers = 4
	// authEach is how often a worker asks the authorization server, at most: the
	// client's default, requests a second.
	authEach = 20
)

// refresh measures how long 4 workers take to register rows on portals whose
// tokens have all expired, and how often each token is refreshed.
func (b *bench) refresh(ctx context.Context) ([]figure, error) {
	if err := b.redis.empty(ctx); err != nil {
		return nil, err
	}
	f := &fleet{b: b, box: sandbox.New(sandbox.WithApplication(checkedApp, checkedSecret))}
	defer f.close()
	n := b.part(expiredPortals)
	for range n {
		if err := f.addApplication(sandbox.Cloud("")); err != nil {
			return nil, err
		}
	}
	if err := f.connect(ctx); err != nil {
		return nil, err
	}
	f.box.ExpireTokens()
	rows := shuffledRows(f.entries, expiredRows)
	if err := f.submit(ctx, runID, rows); err != nil {
		return nil, err
	}
	began := time.Now()
	err := f.start(ctx, expiredWorkers, "BITRIX_CLIENT_ID="+checkedApp, "BITRIX_CLIENT_SECRET="+checkedSecret, "BITRIX_OAUTH_URL="+f.box.AuthURL())
	if err != nil {
		return nil, err
	}
	if err := f.await(ctx, runID, len(rows), 30*time.Minute); err != nil {
		return nil, err
	}
	took := time.Since(began)
	if _, err := f.registered(ctx, runID); err != nil {
		return nil, err
	}
	f.stop()
	b.sayf("  %s", f.spent(ctx))
	once := 0
	for _, st := range f.box.Portals() {
		if s := st.AuthStats(); s.Refreshes == 1 && s.Requests == 1 {
			once++
		}
	}
	auth, violations := f.box.Auth().Stats(), len(f.box.Violations())
	ideal := time.Duration(float64(n) / (expiredWorkers * authEach) * float64(time.Second))
	return []figure{{
		what: fmt.Sprintf("%d portals with expired tokens, %d rows, %d workers", n, len(rows), expiredWorkers),
		value: fmt.Sprintf("%d refreshed once; dead tokens used %d times, %d violations; %.0f s (%.0f s at %d refreshes/s a worker)",
			once, auth.Reused, violations, took.Seconds(), ideal.Seconds(), authEach),
		must: "each once, none dead",
		ok:   once == n && auth.Reused == 0 && violations == 0 && f.checkOnce(len(rows)) == nil,
	}}, nil
}
