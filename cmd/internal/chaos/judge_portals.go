// Portals: no CODE twice, no bot that nobody asked for, and no rule broken.

package main

import (
	"strings"
	"time"

	"botfleet/bitrix/sandbox"
)

// judgePortals looks at the bots, and at the rules that were broken.
func (c *court) judgePortals() {
	for i, p := range c.places {
		for code, n := range p.state.BotsByCode() {
			if n != 1 {
				c.problemf("portal %d has %d bots with the CODE %s", i, n, code)
			}
		}
		for id, b := range c.bots[i] {
			if !c.asked[botKey(i, b.Code)][b.App] {
				c.problemf("portal %d has bot %d, %s of %s, for which nobody asked", i, id, b.Code, b.App)
			}
		}
		c.judgeRules(i, p)
	}
	for _, v := range c.box.Violations() {
		if v.Kind == sandbox.LeakedClientSecret || v.Kind == sandbox.StraySecret {
			c.problemf("%s: %s at %s", v.Kind, v.Secret, v.Host)
		}
	}
}

// judgeRules looks at the rules that were broken on one portal.
func (c *court) judgeRules(i int, p *place) {
	var reused []sandbox.Violation
	for _, v := range p.state.Violations() {
		switch v.Kind {
		case sandbox.DeadRefresh:
			reused = append(reused, v)
		case sandbox.LeakedClientSecret, sandbox.StraySecret: // told of for all portals
		default:
			c.problemf("portal %d: %s at %s: %s of %s %s", i, v.Kind, v.At.UTC().Format("15:04:05.000"), v.Method, v.Credential, v.Bot)
		}
	}
	// A worker that is killed, frozen or cut off from Redis between the trade and
	// the storing of the new pair has lost it. The portal cannot know that the
	// answer was lost, and counts the one more try that the rule allows.
	if len(reused) == 1 && c.disturbedAt(reused[0].At) {
		c.tally["dead refresh token tried once more"]++
		return
	}
	for _, v := range reused {
		c.problemf("portal %d: a dead refresh token was used at %s", i, v.At.UTC().Format("15:04:05.000"))
	}
}

// disturbedAt reports whether within the time before, for which a trade is
// remembered as unsure, a worker, Redis or the network was disturbed.
func (c *court) disturbedAt(at time.Time) bool {
	const unsure = 2 * time.Minute
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.outages {
		if s.from.Before(at) && s.to.After(at.Add(-unsure)) && !strings.Contains(s.what, "portal") {
			return true
		}
	}
	return false
}
