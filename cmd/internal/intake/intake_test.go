// What is found in an input: problems, warnings and the estimate.

package intake_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/intake"
	"botfleet/cmd/internal/rowfile"
	"botfleet/ratelimit"
	"botfleet/tasks"
)

// directory knows portals, and handler sets of earlier runs.
type directory struct {
	portals  map[string]portals.Portal
	handlers map[string]map[string]string
	asked    map[string]int
	err      error
}

func newDirectory() *directory {
	limits := portals.PlanLimits(portals.Standard)
	return &directory{asked: map[string]int{}, portals: map[string]portals.Portal{
		"acme.bitrix24.ru":  {ID: "p1", Name: "acme.bitrix24.ru", Kind: portals.Webhook, ClientID: "app", Limits: limits},
		"bare.bitrix24.ru":  {ID: "p2", Name: "bare.bitrix24.ru", Kind: portals.Webhook, Limits: limits},
		"oauth.bitrix24.ru": {ID: "p3", Name: "oauth.bitrix24.ru", Kind: portals.OAuth, Limits: limits},
	}}
}

func (d *directory) FindMany(_ context.Context, names []string) (map[string]portals.Portal, error) {
	found := map[string]portals.Portal{}
	for _, n := range names {
		d.asked[n]++
		if p, ok := d.portals[n]; ok {
			found[n] = p
		}
	}
	return found, d.err
}

func (d *directory) Handlers(_ context.Context, id string) (map[string]string, error) {
	d.asked["handlers of "+id]++
	return d.handlers[id], d.err
}

// input is a fixed list of rows, and perhaps an error behind them.
type input struct {
	rows []rowfile.Row
	err  error
}

func (in input) Name() string { return "rows.jsonl" }

func (in input) Rows() iter.Seq2[rowfile.Row, error] {
	return func(yield func(rowfile.Row, error) bool) {
		for i, r := range in.rows {
			r.Number, r.Line = i+1, i+1
			if !yield(r, nil) {
				return
			}
		}
		if in.err != nil {
			yield(rowfile.Row{}, in.err)
		}
	}
}

func row(portal, code string, change ...func(*bitrix.Bot)) rowfile.Row {
	b := bitrix.Bot{Code: code, EventHandler: "https://bots.example.com/events", Properties: bitrix.Properties{Name: "Bot"}}
	for _, c := range change {
		c(&b)
	}
	return rowfile.Row{Portal: portal, Bot: b}
}

func handler(url string) func(*bitrix.Bot) { return func(b *bitrix.Bot) { b.EventHandler = url } }
func client(id string) func(*bitrix.Bot)   { return func(b *bitrix.Bot) { b.ClientID = id } }

// six are one bot too many of an application.
func six(portal, application string) []rowfile.Row {
	var rows []rowfile.Row
	for i := range intake.MaxBots + 1 {
		rows = append(rows, row(portal, fmt.Sprint(application, i), client(application)))
	}
	return rows
}

// inspect returns the report, and findings as "row field code" and "row field".
func inspect(t *testing.T, d *directory, rows ...rowfile.Row) (rep *intake.Report, problems, warnings []string) {
	t.Helper()
	rep, err := intake.Inspect(t.Context(), input{rows: rows}, d, intake.Options{
		BatchSize: 50, Parallel: 4,
		Problem: func(f intake.Finding) error {
			problems = append(problems, fmt.Sprintf("%d %s %s", f.Row.Number, f.Problem.Field, f.Problem.Code))
			return nil
		},
		Warning: func(f intake.Finding) {
			warnings = append(warnings, fmt.Sprintf("%d %s", f.Row.Number, f.Problem.Field))
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if rep.Problems != len(problems) || rep.Warnings != len(warnings) || rep.Rows != len(rows) {
		t.Errorf("counted otherwise than told: %+v", rep)
	}
	return rep, problems, warnings
}

func TestFindings(t *testing.T) {
	unreadable := rowfile.Row{Portal: "acme.bitrix24.ru", Problems: []bitrix.Problem{{Code: rowfile.CodeInput, Problem: "not an object"}}}
	halfRead := row("acme.bitrix24.ru", "")
	halfRead.Problems = []bitrix.Problem{{Field: "COLOUR", Code: rowfile.CodeInput, Problem: "unknown; COLOR?"}}
	for _, c := range []struct {
		name     string
		rows     []rowfile.Row
		invalid  int
		problems []string
		warnings []string
	}{
		{name: "nothing"},
		{name: "valid", rows: []rowfile.Row{row("acme.bitrix24.ru", "a"), row("oauth.bitrix24.ru", "a")}},
		{
			name: "a portal that is not known, which may have a CLIENT_ID", rows: []rowfile.Row{row("nobody.bitrix24.ru", "a")},
			invalid: 1, problems: []string{"1 portal " + tasks.CodeUnknownPortal},
		},
		{
			name: "a webhook without CLIENT_ID", rows: []rowfile.Row{row("bare.bitrix24.ru", "a"), row("bare.bitrix24.ru", "b", client("own"))},
			invalid: 1, problems: []string{"1 CLIENT_ID ACCESS_DENIED"},
		},
		{name: "what could not be read is not also missing", rows: []rowfile.Row{unreadable}, invalid: 1, problems: []string{"1  INPUT"}},
		{
			name: "what could be read is checked all the same", rows: []rowfile.Row{halfRead},
			invalid: 1, problems: []string{"1 COLOUR INPUT", "1 CODE CODE_ERROR"},
		},
		{
			name:    "one portal and CODE, in any case, under any application",
			rows:    []rowfile.Row{row("acme.bitrix24.ru", "Helper"), row("acme.bitrix24.ru", "hELPER", client("other")), row("oauth.bitrix24.ru", "helper")},
			invalid: 1, problems: []string{"2 CODE CODE_DUPLICATE"},
		},
		{
			name: "a sixth bot, warned of once",
			rows: []rowfile.Row{
				row("acme.bitrix24.ru", "1"), row("acme.bitrix24.ru", "2"), row("acme.bitrix24.ru", "3"), row("acme.bitrix24.ru", "4"),
				row("acme.bitrix24.ru", "5"), row("acme.bitrix24.ru", "other", client("other")), row("acme.bitrix24.ru", "6"), row("acme.bitrix24.ru", "7"),
			},
			warnings: []string{"7 CODE"},
		},
		{
			name:     "a sixth bot of one application on two portals, and of another on one, each warned of once",
			rows:     slices.Concat(six("acme.bitrix24.ru", "app"), six("bare.bitrix24.ru", "other"), six("bare.bitrix24.ru", "app")),
			warnings: []string{"6 CODE", "12 CODE"},
		},
		{
			name: "other handlers for one application, warned of once",
			rows: []rowfile.Row{
				row("acme.bitrix24.ru", "1"), row("acme.bitrix24.ru", "2", handler("https://other.example.com/")),
				row("acme.bitrix24.ru", "3", handler("https://third.example.com/")), row("oauth.bitrix24.ru", "4", handler("https://other.example.com/")),
			},
			warnings: []string{"2 EVENT_HANDLER"},
		},
		{
			name:     "an Open Channels bot",
			rows:     []rowfile.Row{row("acme.bitrix24.ru", "a", func(b *bitrix.Bot) { b.Type, b.OpenLine = "O", "N" })},
			warnings: []string{"1 OPENLINE"},
		},
		{
			name: "an invalid row counts for nothing else", invalid: 1, problems: []string{"1 PROPERTIES.NAME NAME_ERROR"},
			rows: []rowfile.Row{
				row("acme.bitrix24.ru", "a", func(b *bitrix.Bot) { b.Properties.Name, b.EventHandler = "", "https://other.example.com/" }),
				row("acme.bitrix24.ru", "b"),
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			rep, problems, warnings := inspect(t, newDirectory(), c.rows...)
			if d := cmp.Diff(c.problems, problems); d != "" {
				t.Errorf("problems (-want +got):\n%s", d)
			}
			if d := cmp.Diff(c.warnings, warnings); d != "" {
				t.Errorf("warnings (-want +got):\n%s", d)
			}
			if rep.Invalid != c.invalid {
				t.Errorf("%d invalid", rep.Invalid)
			}
		})
	}
}

// The handlers of one run are what a later one is compared with.
func TestHandlersOfEarlierRuns(t *testing.T) {
	d := newDirectory()
	rows := []rowfile.Row{row("acme.bitrix24.ru", "a"), row("acme.bitrix24.ru", "b"), row("acme.bitrix24.ru", "c", client("other"))}
	rep, _, _ := inspect(t, d, rows...)
	if len(rep.Handlers) != 2 || strings.Contains(fmt.Sprint(rep.Handlers), "example.com") {
		t.Fatalf("%+v", rep.Handlers)
	}
	d.handlers = map[string]map[string]string{"p1": {}}
	for _, h := range rep.Handlers {
		d.handlers["p1"][h.Application] = h.Digest
	}
	if _, _, warnings := inspect(t, d, rows...); len(warnings) != 0 {
		t.Errorf("the same handlers: %v", warnings)
	}
	d.asked = map[string]int{}
	changed := []rowfile.Row{
		row("acme.bitrix24.ru", "a", handler("https://new.example.com/")), row("acme.bitrix24.ru", "b", handler("https://new.example.com/")),
		row("acme.bitrix24.ru", "c", client("other")),
	}
	_, _, warnings := inspect(t, d, changed...)
	if diff := cmp.Diff([]string{"1 EVENT_HANDLER"}, warnings); diff != "" || d.asked["handlers of p1"] != 1 {
		t.Errorf("%s, asked %v", diff, d.asked)
	}
}

// Rows are looked at in parts; nothing may depend on where one ends.
func TestManyRows(t *testing.T) {
	d := newDirectory()
	var rows []rowfile.Row
	for i := range 5000 {
		rows = append(rows, row("acme.bitrix24.ru", fmt.Sprintf("bot%d", i), client(fmt.Sprintf("app%d", i/5))))
	}
	rows = append(rows, row("acme.bitrix24.ru", "BOT0"), row("nobody.bitrix24.ru", "x"), row("nobody.bitrix24.ru", "y"))
	rep, problems, warnings := inspect(t, d, rows...)
	if len(problems) != 3 || len(warnings) != 0 || rep.Doubles[5001] != 1 || len(rep.Doubles) != 1 {
		t.Errorf("%v %v %v", problems, warnings, rep.Doubles)
	}
	if d.asked["acme.bitrix24.ru"] != 1 || d.asked["nobody.bitrix24.ru"] != 1 {
		t.Errorf("asked for portals again and again: %v", d.asked)
	}
	// 5,000 rows in batches of 50, of which the first are in the burst.
	e := rep.Estimate
	if rep.Portals != 1 || e.Portal != "acme.bitrix24.ru" || e.Requests < 100 || e.Requests > 5000 || e.Binds != ratelimit.Rate {
		t.Errorf("%+v", e)
	}
}

func TestWhatEndsALook(t *testing.T) {
	broken, called := errors.New("line 7: broken"), errors.New("called off")
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(called)
	for _, c := range []struct {
		name string
		ctx  context.Context
		in   input
		dir  error
		stop error // of the Problem function
		want error
	}{
		{name: "input that breaks off", in: input{rows: []rowfile.Row{row("acme.bitrix24.ru", "a")}, err: broken}, want: broken},
		{name: "portals that cannot be asked", in: input{rows: []rowfile.Row{row("acme.bitrix24.ru", "a")}}, dir: broken, want: broken},
		{name: "a caller that has seen enough", in: input{rows: []rowfile.Row{row("", "")}}, stop: called, want: called},
		{name: "an interruption", ctx: ended, in: input{rows: []rowfile.Row{row("acme.bitrix24.ru", "a")}}, want: called},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDirectory()
			d.err = c.dir
			ctx := c.ctx
			if ctx == nil {
				ctx = t.Context()
			}
			_, err := intake.Inspect(ctx, c.in, d, intake.Options{Problem: func(intake.Finding) error { return c.stop }})
			if !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

// later are rows of a file with a header line.
type later struct{ input }

func (in later) Rows() iter.Seq2[rowfile.Row, error] {
	return func(yield func(rowfile.Row, error) bool) {
		for r, err := range in.input.Rows() {
			r.Line++
			if !yield(r, err) {
				return
			}
		}
	}
}

// In a CSV file the lines are counted otherwise than the rows.
func TestAnEarlierRowIsNamedWithItsLine(t *testing.T) {
	in := input{rows: []rowfile.Row{row("acme.bitrix24.ru", "a"), row("acme.bitrix24.ru", "A")}}
	for _, c := range []struct {
		in   intake.Rows
		want bool
	}{{in, false}, {later{in}, true}} {
		var said []string
		_, err := intake.Inspect(t.Context(), c.in, newDirectory(), intake.Options{
			BatchSize: 1, Parallel: 1,
			Problem: func(f intake.Finding) error { said = append(said, f.Problem.Problem); return nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(said) != 1 || !strings.HasPrefix(said[0], "row 1 has the same portal and CODE") || strings.HasSuffix(said[0], "; row 1 is on line 2") != c.want {
			t.Errorf("%q", said)
		}
	}
}
