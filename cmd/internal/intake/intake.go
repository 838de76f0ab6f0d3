// Package intake looks a whole input over before anything of it is queued:
// every row is validated against its portal, rows are compared with each other
// and with what earlier runs have set up, and the work is estimated. It makes
// one streaming pass, in memory that hardly grows with the number of rows.
package intake

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/maphash"
	"iter"
	"strings"
	"unique"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/outlook"
	"botfleet/cmd/internal/rowfile"
	"botfleet/tasks"
)

// Portals is what intake asks about portals.
type Portals interface {
	FindMany(ctx context.Context, names []string) (map[string]portals.Portal, error)
	// Handlers returns, by application, the handler sets that earlier runs
	// registered on a portal.
	Handlers(ctx context.Context, portalID string) (map[string]string, error)
}

// Rows is a source of rows; [rowfile.File] is one.
type Rows interface {
	Name() string
	Rows() iter.Seq2[rowfile.Row, error]
}

// Options of Inspect.
type Options struct {
	BatchSize int // rows a request may carry
	Parallel  int // requests of one portal on their way at once
	// Outlook is what else is known for the estimate; its Batch and Parallel are
	// those above. The zero value: the portals' limits alone count.
	Outlook outlook.Outlook
	// SkipInvalid: invalid rows will be left out, and so are no row's double.
	SkipInvalid bool
	// Problem and Warning are told of each finding as it is found. Problem may
	// return an error to stop.
	Problem func(Finding) error
	Warning func(Finding)
}

// Finding is something to say about one row.
type Finding struct {
	Row     rowfile.Row
	Problem bitrix.Problem
}

// Report is what was found.
type Report struct {
	Rows     int
	Invalid  int // rows with at least one problem
	Problems int
	Warnings int
	Portals  int
	// Doubles are the rows that repeat an earlier row's portal and CODE, with that row.
	Doubles map[int]int
	// Estimate is for the valid rows.
	Estimate outlook.Total
	// Handlers are the handler sets of the valid rows, to be noted once they are queued.
	Handlers []HandlerSet
}

// HandlerSet is what one application uses on one portal.
type HandlerSet struct{ Portal, Application, Digest string }

// MaxBots is how many bots one application may have on a portal: public page
// of imbot.register.
const MaxBots = 5

// inspection is the state of one pass.
type inspection struct {
	o       Options
	portals Portals
	report  *Report
	file    string

	known map[string]*portal // nil value: not known
	seed  maphash.Seed
	codes firstRows // by hash of portal and CODE
	lines lines
	apps  map[uint64]*app // hash of portal and application

	crowds crowds
}

// portal is what is kept of a portal between rows.
type portal struct {
	portals.Portal
	rows     int
	handlers map[string]string // of earlier runs; read when first needed
	asked    bool
}

// app is one application on one portal.
type app struct {
	bots     int32
	row      int32 // the first row
	differs  bool  // said so already
	handlers uint64
}

// lookAhead is how many rows are read before their portals are looked up
// together, and lookAheadBytes about how much their photos may take.
const (
	lookAhead      = 1024
	lookAheadBytes = 16 << 20
)

// Inspect makes the pass. An error means that it could not be finished: the
// input cannot be read on, or the portals could not be asked.
func Inspect(ctx context.Context, in Rows, dir Portals, o Options) (*Report, error) {
	s := &inspection{
		o: o, portals: dir, report: &Report{Doubles: map[int]int{}}, file: in.Name(),
		known: map[string]*portal{}, seed: maphash.MakeSeed(),
		apps: map[uint64]*app{},
	}
	rows := make([]rowfile.Row, 0, lookAhead)
	bytes := 0
	for row, err := range in.Rows() {
		if err != nil {
			return s.report, err
		}
		rows = append(rows, row)
		bytes += len(row.Bot.Properties.PersonalPhoto)
		if len(rows) == lookAhead || bytes >= lookAheadBytes {
			if err := s.take(ctx, rows); err != nil {
				return s.report, err
			}
			clear(rows)
			rows, bytes = rows[:0], 0
		}
	}
	if err := s.take(ctx, rows); err != nil {
		return s.report, err
	}
	s.warnOfCrowds()
	return s.report, s.estimate(ctx)
}

func (s *inspection) take(ctx context.Context, rows []rowfile.Row) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if err := s.lookUp(ctx, rows); err != nil {
		return err
	}
	for i := range rows {
		if err := s.row(ctx, &rows[i]); err != nil {
			return err
		}
	}
	return nil
}

// lookUp asks for the portals that rows name and nobody has asked for yet.
func (s *inspection) lookUp(ctx context.Context, rows []rowfile.Row) error {
	var ask []string
	for i := range rows {
		name := rows[i].Portal
		if _, ok := s.known[name]; !ok && name != "" {
			name = strings.Clone(name) // the row's own may keep its whole line
			s.known[name] = nil
			ask = append(ask, name)
		}
	}
	if len(ask) == 0 {
		return nil
	}
	found, err := s.portals.FindMany(ctx, ask)
	if err != nil {
		return err
	}
	for name, p := range found {
		s.known[name] = &portal{Portal: p}
	}
	return nil
}

// row checks one row, in all respects.
func (s *inspection) row(ctx context.Context, row *rowfile.Row) error {
	s.report.Rows++
	s.lines.add(row.Number, row.Line)
	problems := s.problems(row)
	for _, p := range problems {
		s.report.Problems++
		if s.o.Problem != nil {
			if err := s.o.Problem(Finding{Row: *row, Problem: p}); err != nil {
				return err
			}
		}
	}
	if len(problems) > 0 {
		s.report.Invalid++
		return nil
	}
	for _, w := range row.Bot.Warnings() {
		s.warn(row, w.Field, w.Problem)
	}
	p := s.known[row.Portal]
	p.rows++
	return s.application(ctx, row, p)
}

func (s *inspection) problems(row *rowfile.Row) []bitrix.Problem {
	p := s.known[row.Portal]
	rules := bitrix.Rules{Webhook: true}
	problems := row.Problems
	if p != nil {
		rules = bitrix.Rules{Webhook: p.Kind == portals.Webhook, ClientID: p.ClientID}
	} else {
		if row.Portal != "" {
			problems = append(problems, bitrix.Problem{
				Field: "portal", Code: tasks.CodeUnknownPortal,
				Problem: fmt.Sprintf("%s is not in the portals file, nor among the stored portals", row.Portal),
			})
		}
		rules.ClientID = "?" // whether one is needed depends on the portal
	}
	if readable(row) {
		problems = append(problems, row.Bot.Validate(rules)...)
	}
	if first, double := s.double(row, len(problems) == 0 || !s.o.SkipInvalid); double {
		s.report.Doubles[row.Number] = first
		problem := DoubleProblem(first)
		problem.Problem += s.where(first)
		problems = append(problems, problem)
	}
	return problems
}

// readable reports whether the row's fields could be read. What could not even
// be read is not also missing.
func readable(row *rowfile.Row) bool {
	for _, p := range row.Problems {
		if p.Field == "" {
			return false
		}
	}
	return true
}

// where says on which line an earlier row is, if that is not the row's number.
func (s *inspection) where(row int) string {
	if line := s.lines.of(row); line > 0 && line != row {
		return fmt.Sprintf("; row %d is on line %d", row, line)
	}
	return ""
}

// DoubleProblem is the problem of a row that repeats an earlier one.
func DoubleProblem(first int) bitrix.Problem {
	return bitrix.Problem{
		Field: "CODE", Code: "CODE_DUPLICATE",
		Problem: fmt.Sprintf("row %d has the same portal and CODE (upper and lower case count as one): a portal would make one bot of both", first),
	}
}

// double reports whether an earlier row has this one's portal and CODE. A row
// that will not be queued (takes is false) does not take them.
func (s *inspection) double(row *rowfile.Row, takes bool) (first int, double bool) {
	if row.Portal == "" || strings.TrimSpace(row.Bot.Code) == "" {
		return 0, false
	}
	h := s.hash(row.Portal, strings.ToLower(row.Bot.Code))
	if takes {
		first = int(s.codes.add(h, int32(row.Number))) //nolint:gosec // 2^31 rows do not fit a file that anyone has
	} else {
		first = int(s.codes.first(h))
	}
	return first, first > 0
}

func (s *inspection) hash(parts ...string) uint64 {
	var h maphash.Hash
	h.SetSeed(s.seed)
	for _, p := range parts {
		_, _ = h.WriteString(p)
		_ = h.WriteByte(0)
	}
	return h.Sum64()
}

// application warns of what Bitrix24 does to several bots of one application.
func (s *inspection) application(ctx context.Context, row *rowfile.Row, p *portal) error {
	name := p.Application(row.Bot.ClientID)
	set := row.Bot.HandlerSet()
	key, hash := s.hash(p.ID, name), s.hash(set)
	a := s.apps[key]
	if a == nil {
		a = &app{row: int32(row.Number), handlers: hash} //nolint:gosec // as above
		s.apps[key] = a
		// Both repeat from portal to portal, and a row's strings may each keep
		// its whole line.
		name, digest := unique.Make(name).Value(), unique.Make(shortDigest(set)).Value()
		s.report.Handlers = append(s.report.Handlers, HandlerSet{Portal: p.Name, Application: name, Digest: digest})
		if err := s.earlier(ctx, row, p, name, digest); err != nil {
			return err
		}
	}
	a.bots++
	if a.bots == MaxBots+1 {
		s.crowds.add(row, unique.Make(name).Value(), p.Name)
	}
	if a.handlers != hash && !a.differs {
		a.differs = true
		s.warn(row, "EVENT_HANDLER", fmt.Sprintf("row %d registers other handler URLs for the same application on %s; an application has one set, and each registration sends the events of all its bots to the newest%s", a.row, p.Name, s.where(int(a.row))))
	}
	return nil
}

// earlier compares an application's handlers with those of earlier runs.
func (s *inspection) earlier(ctx context.Context, row *rowfile.Row, p *portal, name, digest string) error {
	if !p.asked {
		var err error
		if p.handlers, err = s.portals.Handlers(ctx, p.ID); err != nil {
			return err
		}
		p.asked = true
	}
	if old, ok := p.handlers[name]; ok && old != digest {
		s.warn(row, "EVENT_HANDLER", fmt.Sprintf("an earlier run registered other handler URLs for the same application on %s; registering this bot sends the events of all its bots to the new ones", p.Name))
	}
	return nil
}

// shortDigest names a handler set for comparing: the URLs themselves may carry
// the user's own secrets, and need not be kept.
func shortDigest(set string) string {
	sum := sha256.Sum256([]byte(set))
	return hex.EncodeToString(sum[:8])
}

func (s *inspection) warn(row *rowfile.Row, field, text string) {
	s.report.Warnings++
	if s.o.Warning != nil {
		s.o.Warning(Finding{Row: *row, Problem: bitrix.Problem{Field: field, Problem: text}})
	}
}

// estimate says when the valid rows will be done, and what makes it so late.
func (s *inspection) estimate(ctx context.Context) error {
	var loads []outlook.Load
	for _, p := range s.known {
		if p == nil {
			continue
		}
		s.report.Portals++
		if p.rows > 0 {
			loads = append(loads, outlook.Load{Portal: &p.Portal, Rows: p.rows})
		}
	}
	o := s.o.Outlook
	o.New, o.Batch, o.Parallel = true, s.o.BatchSize, s.o.Parallel
	var err error
	s.report.Estimate, err = o.All(ctx, loads)
	return err
}
