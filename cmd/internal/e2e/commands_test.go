// Every command that uses Redis, once, on whatever kind of Redis there is.

//go:build !race

package e2e

import (
	"fmt"
	neturl "net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"botfleet/bitrix/portals"
	"botfleet/bitrix/sandbox"
)

// console runs commands in an environment, and keeps what they print.
type console struct {
	t    *testing.T
	env  []string
	said strings.Builder
}

// do runs a command to its end and returns what it printed to standard output.
func (c *console) do(args ...string) string { return c.with(nil, args...) }

// with is do with more in the environment.
func (c *console) with(env []string, args ...string) string {
	c.t.Helper()
	p := finish(c.t, 0, time.Minute, "enqueue", append(slices.Clone(c.env), env...), args...)
	c.said.WriteString(p.stdout.String() + p.stderr.String())
	return p.stdout.String()
}

// wants runs a command and wants a text in what it prints.
func (c *console) wants(text string, args ...string) {
	c.t.Helper()
	if got := c.do(args...); !strings.Contains(got, text) {
		c.t.Errorf("enqueue %s: no %q in\n%s", strings.Join(args, " "), text, got)
	}
}

// everyCommand uses each command once on what the environment says. The servers,
// which are all there are, must have refused nothing.
func everyCommand(t *testing.T, env []string, servers ...*member) {
	t.Helper()
	f, c := newFleet(t), &console{t: t, env: env}
	full := sandbox.Unlimited("")
	full.MaxBotsPerApp = 2
	f.addMany(3, sandbox.Unlimited(""), nil)
	f.add(full, nil)
	input := writeJSONL(t, goodRows(f.names, 3))
	c.do("portals", "import", f.file())
	c.do("portals", "check")
	c.do("portals", "hold", f.names[0], "--reason", "moving house")
	c.do("check", input)
	w := startWorker(t, env...)
	run := strings.TrimSpace(c.do("submit", input))
	await(t, time.Minute, "all but the held rows to have an outcome", func() bool {
		return strings.Contains(c.do("status", run, "--format", "json"), `"waiting":3`)
	})
	c.wants("moving house", "portals", "list", "--state", "held")
	c.do("portals", "release", f.names[0])
	parseResults(t, c.do("results", "--follow", run), 12)
	c.wants(`"dead":1`, "status", run, "--format", "json")
	c.wants(run, "status")
	c.deadRows(run)
	c.wants("registered", "run", writeJSONL(t, goodRows(f.names[1:3], 5)))
	c.cancels(f)
	c.wants("version ", "doctor")
	pagesWork(t, w)
	w.stop(20 * time.Second)
	c.rekeys(len(f.names))
	c.wants("removed", "portals", "remove", "--yes", f.names[3])
	c.said.WriteString(w.stderr.String())
	noSecrets(t, c.said.String(), webhookSecret, fleetPassword, neturl.PathEscape(fleetPassword), watchPassword, neturl.QueryEscape(watchPassword))
	noneDenied(t, servers...)
}

// deadRows does all that there is to do about a run's only dead row.
func (c *console) deadRows(run string) {
	c.t.Helper()
	c.wants("MAX_COUNT_ERROR", "dead", "list", run)
	c.wants("MAX_COUNT_ERROR", "dead", "export", run)
	c.do("dead", "retry", run, "--yes", "--reason", "once more")
	c.wants("once more", "results", "--only", "dead", "--follow", run) // it has died again
	c.wants(`"deleted":1`, "dead", "prune", "--yes", "--older", "0")
}

// cancels has a run cancelled while nothing is taken from the queues: so many rows
// of one portal that its queue is gone through, and a few of another.
func (c *console) cancels(f *fleet) {
	c.t.Helper()
	c.wants(`"done":"paused"`, "pause")
	rows := append(rowsOf(f.names[:1], 250, "no"), rowsOf(f.names[1:2], 3, "no")...)
	run := strings.TrimSpace(c.do("submit", writeJSONL(c.t, rows)))
	c.wants(`"cancelled":253,"busy":0,"waiting":0`, "cancel", run, "--yes", "--reason", "the wrong file")
	c.wants("the wrong file", "results", "--only", "dead", "--follow", run)
	c.wants(`"done":"resumed"`, "resume")
}

// rekeys seals the credentials under another key, and under the usual one again.
func (c *console) rekeys(stored int) {
	c.t.Helper()
	var key string
	for _, e := range c.env {
		if v, ok := strings.CutPrefix(e, "SECRETS_KEY="); ok {
			key = v
		}
	}
	other, all := portals.NewKey(), fmt.Sprintf(`"resealed":%d,"portals":%[1]d`, stored)
	for _, keys := range []string{other + "," + key, key + "," + other} {
		if got := c.with([]string{"SECRETS_KEY=" + keys}, "portals", "rekey"); !strings.Contains(got, all) {
			c.t.Errorf("enqueue portals rekey: no %s in %s", all, got)
		}
	}
	noSecrets(c.t, c.said.String(), key, other)
}
