// What the programs have printed: no panic, and no secret.

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"botfleet/bitrix/sandbox"
	"botfleet/tasks/sweep"
)

// alarms are what no program may print.
var alarms = []string{"panic:", "panic ", "fatal error:", "DATA RACE", "\ngoroutine "}

// judgeLogs searches the logs of workers and producers.
func (c *court) judgeLogs() error {
	files, err := filepath.Glob(filepath.Join(c.dir, "*.log"))
	if err != nil {
		return fmt.Errorf("find the logs: %w", err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		text, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read a log: %w", err)
		}
		for _, alarm := range alarms {
			if at := bytes.Index(text, []byte(alarm)); at >= 0 && name != "redis.log" {
				c.problemf("%s: %.300q", name, text[at:])
			}
		}
		for what, secret := range map[string]string{"webhook": c.webhook, "key": c.key, "client_secret": c.secret, "token": c.box.TokenMark()} {
			if bytes.Contains(text, []byte(secret)) {
				c.problemf("%s holds a %s", name, what)
			}
		}
	}
	return nil
}

// lost are the kinds of faults that leave it open whether a request was worked on.
var lost = []sandbox.FaultKind{
	sandbox.Reset, sandbox.Silence, sandbox.Stall, sandbox.Truncate, sandbox.Cut, sandbox.HTML, sandbox.Empty, sandbox.Huge, sandbox.DieMidway,
}

// reckon counts for the summary what came of it all.
func (c *court) reckon(ctx context.Context) error {
	for what, n := range c.tally {
		c.count(what, n)
	}
	stats := c.box.Stats()
	for _, kind := range lost {
		c.count("answers lost", stats.Faults[kind])
	}
	c.count("requests", stats.Requests)
	c.count("tokens renewed", c.box.Auth().Stats().Refreshes)
	mended, err := sweep.Totals(ctx, c.redis.client)
	if err != nil {
		return err
	}
	for kind, n := range mended {
		c.count("mended "+strings.ReplaceAll(kind, "_", " "), int(n))
	}
	return nil
}
