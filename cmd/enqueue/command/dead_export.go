// enqueue dead export: a run's dead rows as a file to mend and submit again.

package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"botfleet/bitrix"
	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/engine"
	"botfleet/cmd/internal/report"
	"botfleet/cmd/internal/rowfile"
	"botfleet/tasks/runs"
)

func newDeadExport(a *app) *cobra.Command {
	var f deadFilter
	var yes bool
	cmd := &cobra.Command{
		Use:   "export RUN",
		Short: "Write a run's dead rows as a file to mend and submit again",
		Long: `Write a run's dead rows as rows of input, as they were submitted, and beside each
its number in the run (row) and what it died of (class, error.code,
error.description). Mended, the file is submitted again under the same run:

  enqueue submit --run RUN failed.csv

The numbers make each row replace its own outcome, whatever of it was mended, CODE
and portal included; leave them as they are. The error may stay in the file too.

With --output the rows are CSV, a JSON array or JSON Lines by the file's name, or
by --format, and their photos lie in a folder beside it (failed-photos for
failed.csv), each once. On standard output they are JSON Lines, or --format, with
the photos inside, as base64.`,
		Example: "  enqueue dead export RUN --class validation --output failed.csv",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(cmd); err != nil {
				return err
			}
			format, err := exportFormat(a.common.output, a.common.format)
			if err != nil {
				return err
			}
			return a.withBase(cmd.Context(), func(_ config.Config, base *engine.Base) error {
				return a.exportDead(cmd.Context(), base, args[0], &f, format, yes)
			})
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "replace the output file, if there is one")
	return cmd
}

// exportFormat decides on the form of exported rows.
func exportFormat(output, said string) (string, error) {
	switch said {
	case rowfile.JSONL, rowfile.JSON, rowfile.CSV:
		return said, nil
	case "":
	default:
		return "", &usageError{fmt.Sprintf("--format: rows are exported as jsonl, json or csv, not as %q", said)}
	}
	switch strings.ToLower(filepath.Ext(output)) {
	case ".csv":
		return rowfile.CSV, nil
	case ".json":
		return rowfile.JSON, nil
	}
	return rowfile.JSONL, nil
}

// exporting is one export on its way.
type exporting struct {
	app    *app
	store  *runs.Store
	names  presentNames
	out    *rowfile.Writer
	to     string // what out writes to, as a person calls it
	photos photoFiles
	tally  tally
	partly int // rows of which something is missing
}

func (a *app) exportDead(ctx context.Context, base *engine.Base, run string, f *deadFilter, format string, yes bool) (err error) {
	info, err := base.Runs.Get(ctx, run)
	if err != nil {
		return err
	}
	if err := f.resolve(ctx, base.Registry); err != nil {
		return err
	}
	e := &exporting{app: a, store: base.Runs, names: presentNames{registry: base.Registry}, photos: newPhotoFiles(base.Runs, a.common.output)}
	if a.common.output == "" {
		err = e.write(ctx, a.std.out, "standard output", format, run, f)
	} else {
		err = replaceFile(a.common.output, yes, func(w io.Writer) error {
			return e.write(ctx, w, a.common.output, format, run, f)
		})
	}
	if err != nil {
		return err
	}
	a.tell(&e.tally, info)
	if e.photos.written > 0 {
		a.sayf("%s in %s", report.Counted(e.photos.written, "photo"), e.photos.folder)
	}
	if e.partly > 0 {
		a.sayf("something is missing in %s, as said above: mend what is missing before you submit the file", report.Counted(e.partly, "row"))
	}
	return nil
}

// write writes all chosen rows.
func (e *exporting) write(ctx context.Context, to io.Writer, name, format, run string, f *deadFilter) error {
	w := bufio.NewWriterSize(to, 64<<10)
	var err error
	if e.out, err = rowfile.NewWriter(w, format); err == nil {
		e.to = name
		err = eachDead(ctx, e.store, run, f, func(o *runs.Outcome) error { return e.row(ctx, o) })
	}
	if err == nil {
		err = e.failed(e.out.Close())
	}
	if err == nil {
		err = e.failed(w.Flush())
	}
	return err
}

// failed is an error of writing rows.
func (e *exporting) failed(err error) error {
	if err == nil {
		return nil
	}
	return &report.WriteError{Name: e.to, Err: err}
}

// row writes one dead row.
func (e *exporting) row(ctx context.Context, o *runs.Outcome) error {
	e.tally.add(o)
	portal, err := e.names.of(ctx, o)
	if err != nil {
		return err
	}
	bot, lack := submittedBot(o)
	if lack == nil && o.Photo != "" {
		lack, err = e.photo(ctx, o, &bot)
		if err != nil {
			return err
		}
	}
	if lack != nil {
		e.partly++
		e.app.sayf("row %d (%s on %s): %s", o.Row, report.Clean(o.Code), report.Clean(portal), report.Clean(lack.Error()))
	}
	note := &rowfile.Note{Class: report.Clean(o.Class)}
	if o.Error != nil {
		note.Code, note.Description = report.Clean(o.Error.Code), report.Clean(o.Error.Description)
	}
	return e.failed(e.out.Write(rowfile.Row{Number: o.Row, Portal: portal, ID: o.ID, Bot: bot}, note))
}

// photo puts a row's photo, or its file, into the bot. lack says what a person
// has to do about a photo that is gone: a row without it would make another bot
// than was asked for, so its value is one that is refused.
func (e *exporting) photo(ctx context.Context, o *runs.Outcome, bot *bitrix.Bot) (lack, err error) {
	value, err := e.photos.value(ctx, o.Photo)
	bot.Properties.PersonalPhoto = value
	if errors.Is(err, runs.ErrPhotoGone) {
		return fmt.Errorf("its photo is no longer kept; put it in the place of %s", value), nil
	}
	return nil, err
}
