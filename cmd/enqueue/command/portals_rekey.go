// enqueue portals rekey: all credentials under the first key.

package command

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/engine"
	"botfleet/cmd/internal/report"
)

func newPortalsRekey(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "rekey",
		Short: "Seal all stored credentials under the first key of SECRETS_KEY",
		Long: `Seal all stored credentials under the first key of SECRETS_KEY. It works beside
running workers, and the same command again goes on where it was interrupted.

To change the key: give every process SECRETS_KEY=NEW,OLD and restart it; run
enqueue portals rekey with the same; then take OLD out everywhere.

Exit status:
  0    every portal is sealed under the first key
  1    it could not be done: usage, connection, configuration
  2    done, but some portals do not open
  130  interrupted`,
		Example: `  SECRETS_KEY="$NEW,$OLD" enqueue portals rekey`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withBase(cmd.Context(), func(cfg config.Config, base *engine.Base) error {
				if cfg.Keys.Empty() {
					return portals.ErrNoKey
				}
				return a.portalsRekey(cmd.Context(), base, cfg.Keys)
			})
		},
	}
}

// rekeyed is what rekey prints.
type rekeyed struct {
	Resealed int      `json:"resealed"`
	Portals  int      `json:"portals"`
	Key      string   `json:"key"`                // id of the first key
	Unneeded []string `json:"unneeded,omitempty"` // ids of the other keys
	Broken   []string `json:"broken,omitempty"`   // portals that do not open, and why
}

func (r *rekeyed) csvCells() []string {
	return []string{strconv.Itoa(r.Resealed), strconv.Itoa(r.Portals), r.Key, strings.Join(r.Unneeded, " ")}
}

func (r *rekeyed) tableCells() []string { return r.csvCells() }

func rekeyLayout() layout {
	return layout{csv: []string{"resealed", "portals", "key", "unneeded"}, table: []string{"RESEALED", "PORTALS", "KEY", "NO LONGER NEEDED"}}
}

func (a *app) portalsRekey(ctx context.Context, base *engine.Base, keys portals.Keyring) error {
	out, err := a.newRecords(rekeyLayout())
	if err != nil {
		return err
	}
	n, total, err := base.Registry.Rekey(ctx)
	ids := keys.IDs()
	r := &rekeyed{Resealed: n, Portals: total, Key: ids[0]}
	var broken *portals.RekeyError
	switch {
	case errors.As(err, &broken):
		// Neither of the keys at hand opens them, so those are not needed for them.
		r.Unneeded = ids[1:]
		for _, e := range broken.Failed {
			r.Broken = append(r.Broken, report.Clean(e.Error()))
		}
		err = &exitError{exitUnfinished, fmt.Errorf("%s could not be sealed anew", report.Counted(len(broken.Failed), "portal"))}
	case err != nil:
		if ctx.Err() != nil {
			err = context.Cause(ctx) // not what the interruption did to Redis' client
		}
		err = fmt.Errorf("%w\n%s of those looked at so far were sealed anew; the same command again goes on", err, report.Counted(n, "portal"))
		return errors.Join(err, out.close())
	default:
		r.Unneeded = ids[1:]
	}
	for _, text := range r.Broken {
		_, _ = fmt.Fprintln(a.std.err, text)
	}
	if len(r.Unneeded) > 0 {
		a.sayf("no longer needed, once SECRETS_KEY of every process begins with key %s: %s", ids[0], strings.Join(keyWords(r.Unneeded), ", "))
	}
	if written := errors.Join(out.write(r), out.close()); written != nil {
		return written
	}
	return err
}

// keyWords name keys by their places in SECRETS_KEY, which does not show their ids.
func keyWords(unneeded []string) []string {
	words := make([]string, len(unneeded))
	for i, id := range unneeded {
		words[i] = fmt.Sprintf("key %s (number %d of SECRETS_KEY)", id, i+2)
	}
	return words
}
