// A million rows through check, submit and status.

package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/rowfile"
)

const (
	millionPortals = 10_000
	// mostInputMemory is what check and submit may take, in MB.
	mostInputMemory = 100
	// botsEach is how many bots one application registers on a portal: more
	// would be a warning for each.
	botsEach = 5
)

// step is one command over the million rows.
type step struct {
	what string
	args []string
	most int64  // MB
	said string // what it must print
}

// millionRows measures the commands as processes of their own.
func (b *bench) millionRows(ctx context.Context) ([]figure, error) {
	enqueue, err := b.build(ctx, "enqueue")
	if err != nil {
		return nil, err
	}
	if err := b.redis.empty(ctx); err != nil {
		return nil, err
	}
	b.sayf("writing %d rows for %d portals, twice", b.million, millionPortals)
	portalsFile := filepath.Join(b.dir, "portals.jsonl")
	if err := writePortals(portalsFile); err != nil {
		return nil, err
	}
	files := map[string]string{}
	for _, format := range []string{rowfile.JSONL, rowfile.CSV} {
		files[format] = filepath.Join(b.dir, "rows."+format)
		if err := b.writeRows(files[format], format); err != nil {
			return nil, err
		}
	}
	environ := b.environment(portals.NewKey())
	var figures []figure
	var run string
	for _, s := range []step{
		{"check of JSON Lines", []string{"check", "--portals", portalsFile, files[rowfile.JSONL]}, mostInputMemory, "0 invalid"},
		{"check of CSV", []string{"check", "--portals", portalsFile, files[rowfile.CSV]}, mostInputMemory, "0 invalid"},
		{"submit of JSON Lines", []string{"submit", "--portals", portalsFile, files[rowfile.JSONL]}, mostInputMemory, "queued"},
		{"status", []string{"status"}, 0, ""},
		{"status of the run", []string{"status", ""}, 0, ""},
	} {
		for i, arg := range s.args {
			if arg == "" {
				s.args[i] = run
			}
		}
		p, err := b.step(ctx, environ, enqueue, s)
		if err != nil {
			return nil, err
		}
		if s.args[0] == "submit" {
			run = strings.TrimSpace(p.stdout.String())
		}
		more := fmt.Sprintf(" peak, %.1f s (%d rows on %d portals)", p.took.Seconds(), b.million, millionPortals)
		figures = append(figures, memoryFigure(s.what, more, p.peak, s.most))
	}
	return figures, b.checkMillion(ctx, run)
}

// step runs one command to its end.
func (b *bench) step(ctx context.Context, environ []string, program string, s step) (*process, error) {
	p, err := start(ctx, environ, program, s.args...)
	if err != nil {
		return nil, err
	}
	if err := p.wait(); err != nil {
		return nil, fmt.Errorf("%s: %w", s.what, err)
	}
	if !strings.Contains(p.output.String(), s.said) {
		return nil, fmt.Errorf("%s: it did not say %q but: %s", s.what, s.said, strings.TrimSpace(p.output.String()))
	}
	b.sayf("%s: %.1f s, %d MB", s.what, p.took.Seconds(), p.peak/megabytes)
	return p, nil
}

// checkMillion makes sure that each row is queued, once.
func (b *bench) checkMillion(ctx context.Context, run string) error {
	var queues []string
	for i := range portals.DefaultShards {
		queues = append(queues, portals.QueueName(i))
	}
	if err := b.checkPending(ctx, queues, b.million); err != nil {
		return err
	}
	waiting, err := b.redis.client.HGet(ctx, "botfleet:{run:"+run+"}:meta", "waiting").Int()
	if err != nil || waiting != b.million {
		return fmt.Errorf("%d of %d rows of run %q wait: %w", waiting, b.million, run, err)
	}
	return nil
}

func millionHost(i int) string { return fmt.Sprintf("portal%05d.bitrix24.ru", i) }

// writePortals writes a portals file.
func writePortals(path string) error {
	return writeFile(path, func(w *bufio.Writer) error {
		for i := range millionPortals {
			host := millionHost(i)
			if _, err := fmt.Fprintf(w, `{"portal":%q,"webhook":"https://%s/rest/1/benchbenchbench1/","client_id":"bench"}`+"\n", host, host); err != nil {
				return err
			}
		}
		return nil
	})
}

// writeRows writes the rows in a format: in turn for each portal, each five
// bots of a portal under an application of their own.
func (b *bench) writeRows(path, format string) error {
	return writeFile(path, func(w *bufio.Writer) error {
		out, err := rowfile.NewWriter(w, format)
		if err != nil {
			return err
		}
		for i := range b.million {
			turn := i / millionPortals
			row := rowfile.Row{Portal: millionHost(i % millionPortals), Bot: bitrix.Bot{
				Code: fmt.Sprintf("helper%03d", turn), Type: "B", OpenLine: "N", EventHandler: "https://bots.example.com/events",
				ClientID:   fmt.Sprintf("application%03d", turn/botsEach),
				Properties: bitrix.Properties{Name: fmt.Sprintf("Helper %d", i), Color: "AZURE", WorkPosition: "Answers everyday questions"},
			}}
			if err := out.Write(row, nil); err != nil {
				return err
			}
		}
		return out.Close()
	})
}

// writeFile makes a file by what write writes.
func writeFile(path string, write func(*bufio.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	if err := write(w); err != nil {
		_ = f.Close()
		return err
	}
	if err := w.Flush(); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}
