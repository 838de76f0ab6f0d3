// enqueue portals check over many portals: how long, and how many requests.

package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/bitrix/sandbox"
)

const (
	checkedPortals = 1000
	// checkedLatency is how long each of them takes to answer.
	checkedLatency = 100 * time.Millisecond
	checkedApp     = "local.bench.12345678"
	checkedSecret  = "benchbenchbenchbench"
)

// checkCase is one round of checking.
type checkCase struct {
	what   string
	app    bool // tokens that have expired, in place of webhooks
	silent int  // how many of the portals do not answer
	each   int  // requests that each portal should get
}

// portalsCheck measures the built command on portals of its own.
func (b *bench) portalsCheck(ctx context.Context) ([]figure, error) {
	var figures []figure
	for _, c := range []checkCase{
		{what: "portals check, webhooks", each: 1},
		{what: "portals check, 50 of them silent", silent: 50, each: 1},
		{what: "portals check, expired tokens", app: true, each: 2},
	} {
		got, err := b.checkRound(ctx, c)
		if err != nil {
			return figures, fmt.Errorf("%s: %w", c.what, err)
		}
		figures = append(figures, got)
	}
	return figures, nil
}

func (b *bench) checkRound(ctx context.Context, c checkCase) (figure, error) {
	if err := b.redis.empty(ctx); err != nil {
		return figure{}, err
	}
	f := &fleet{b: b, box: sandbox.New(sandbox.WithApplication(checkedApp, checkedSecret))}
	defer f.close()
	n := b.part(checkedPortals)
	silent := min(c.silent, n)
	for i := range n {
		if err := f.addChecked(c.app, i < silent); err != nil {
			return figure{}, err
		}
	}
	if err := f.connect(ctx); err != nil {
		return figure{}, err
	}
	if c.app {
		f.box.ExpireTokens()
	}
	program, err := b.build(ctx, "enqueue")
	if err != nil {
		return figure{}, err
	}
	p, err := start(ctx, b.environment(f.cfg.SecretsKey, "BITRIX_CLIENT_ID="+checkedApp, "BITRIX_CLIENT_SECRET="+checkedSecret,
		"BITRIX_OAUTH_URL="+f.box.AuthURL()), program, "portals", "check", "--format", "jsonl")
	if err != nil {
		return figure{}, err
	}
	<-p.ended
	fine := strings.Count(p.stdout.String(), `"fine":true`)
	if fine != n-silent {
		return figure{}, fmt.Errorf("%d of %d portals are fine: %s", fine, n, p.output.String())
	}
	s, auth := f.box.Stats(), f.box.Auth().Stats().Requests
	b.sayf("  %s", lastLine(p.output.String()))
	each, refreshes := float64(s.Requests)/float64(n), float64(auth)/float64(n)
	value := fmt.Sprintf("%.1f s for %d portals of %v; %.2f requests each, %d at once, 503: %d", p.took.Seconds(), n, checkedLatency, each, f.box.MaxConcurrent(), s.Errors[overRate])
	want := fmt.Sprintf("%d each, no 503", c.each)
	ok := s.Requests == n*c.each && s.Errors[overRate] == 0
	if c.app {
		value += fmt.Sprintf("; %.2f refreshes each", refreshes)
		want += ", 1 refresh"
		ok = ok && auth == n
	}
	return figure{what: c.what, value: value, must: want, ok: ok}, nil
}

// addChecked adds a portal on a standard plan.
func (f *fleet) addChecked(app, silent bool) error {
	like := sandbox.Cloud("")
	like.Latency = checkedLatency
	if silent {
		like.Faults = []sandbox.Fault{{Kind: sandbox.Silence}}
	}
	if app {
		return f.addApplication(like)
	}
	_, err := f.add(like)
	if err == nil {
		f.entries[len(f.entries)-1].ClientID = "bench"
	}
	return err
}

// addApplication adds a portal that has the application installed.
func (f *fleet) addApplication(like sandbox.Portal) error {
	like.App = checkedApp
	name, err := f.add(like)
	if err != nil {
		return err
	}
	e := &f.entries[len(f.entries)-1]
	access, refresh := f.box.Portal(name).Pair()
	if e.Access, err = bitrix.NewOAuth("http://"+name+"/rest/", string(access)); err != nil {
		return fmt.Errorf("make up a portal: %w", err)
	}
	e.RefreshToken = portals.NewSecret(string(refresh))
	return nil
}
