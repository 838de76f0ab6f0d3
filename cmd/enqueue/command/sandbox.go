// enqueue run --sandbox: portals answered for by this process.

package command

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/bitrix/sandbox"
	"botfleet/cmd/internal/rowfile"
)

// openSandbox starts the sandbox and gives it the portals: those of --portals;
// without it those that the rows name; without rows the sample's.
func (j *job) openSandbox(ctx context.Context, args []string) error {
	sample := len(args) == 0 && j.flags.bot == ""
	var box *sandbox.Sandbox
	if sample {
		box = sandbox.New(sandbox.WithPortals(sandbox.SamplePortals()...))
	} else {
		box = sandbox.New(sandbox.WithUnknownHosts(sandbox.Cloud("")))
	}
	if err := box.Open(); err != nil {
		return err
	}
	j.closers = append(j.closers, box.Close)
	j.transport = box.Transport()
	switch {
	case sample:
		return j.openSample(ctx)
	case len(j.entries) > 0 || j.flags.bot != "":
		return nil
	}
	return j.inventPortals(ctx, args)
}

func (j *job) openSample(ctx context.Context) error {
	rows, list := sandbox.Sample()
	folder, err := os.MkdirTemp("", "botfleet-sample-")
	if err != nil {
		return fmt.Errorf("keep the sample rows: %w", err)
	}
	j.closers = append(j.closers, func() { _ = os.RemoveAll(folder) })
	path := filepath.Join(folder, "sample.jsonl")
	if err := os.WriteFile(path, rows, 0o600); err != nil {
		return fmt.Errorf("keep the sample rows: %w", err)
	}
	if j.entries, err = portals.Read(bytes.NewReader(list), portals.JSONLines, "sample portals", j.cfg.Endpoints); err != nil {
		return err
	}
	if j.rows, err = rowfile.Open(ctx, path, rowfile.Options{}); err != nil {
		return err
	}
	return nil
}

// inventPortals makes up a webhook for each portal that the rows name.
func (j *job) inventPortals(ctx context.Context, args []string) error {
	var err error
	if j.rows, err = j.flags.openRows(ctx, args, j.std.in, nil); err != nil {
		return inputError(err)
	}
	j.closers = append(j.closers, func() { _ = j.rows.Close() })
	seen := map[string]bool{}
	for row, err := range j.rows.Rows() {
		if err != nil {
			return inputError(err)
		}
		if row.Portal == "" || seen[row.Portal] {
			continue
		}
		seen[row.Portal] = true
		access, err := bitrix.ParseWebhook("https://" + row.Portal + "/rest/1/sandbox/")
		if err != nil {
			continue // the row's own check will say so
		}
		j.entries = append(j.entries, portals.Entry{
			Name: row.Portal, ClientID: "sandbox", Plan: portals.Standard, Limits: portals.PlanLimits(portals.Standard),
			ServerTimeout: portals.DefaultServerTimeout, Access: access,
		})
	}
	return nil
}
