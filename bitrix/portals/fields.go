// The columns of a portals file, and how a row of them becomes an Entry.

package portals

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"botfleet/bitrix"
)

// fieldNames are the columns and keys, in the order of the documentation.
var fieldNames = []string{
	"portal", "webhook", "access_token", "refresh_token", "client_endpoint", "member_id",
	"client_id", "plan", "rate", "burst", "headroom", "operating_limit", "operating_window", "server_timeout",
}

// row is one portal of a file: its texts by field name, and its line.
type row struct {
	line   int
	values map[string]string
}

// knownField finds the field that a column or key names, or says which it may
// have meant. A name that looks like data is not repeated: it may be a
// credential in a file without a header.
func knownField(name string) (field, problem string) {
	name = strings.ToLower(strings.TrimSpace(name))
	for _, f := range fieldNames {
		if name == f {
			return f, ""
		}
	}
	shown := "a name"
	if len(name) <= 20 && strings.IndexFunc(name, func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') }) < 0 {
		shown = fmt.Sprintf("%q", name)
	}
	if near := nearest(name, fieldNames); near != "" {
		return "", fmt.Sprintf("%s is not known; did you mean %s?", shown, near)
	}
	return "", fmt.Sprintf("%s is not known; known are %s", shown, strings.Join(fieldNames, ", "))
}

// entry builds the portal of a row and finds all that is wrong with it.
func (r row) entry(file string, endpoints bitrix.Endpoints) (Entry, []Problem) {
	b := builder{row: r}
	e := b.build()
	for _, p := range e.problems() {
		if !b.has(p.field) && p.text != missingAccess { // build says more precisely what is missing
			b.add(p.field, p.text)
		}
	}
	if !e.Access.IsZero() && !b.has("portal") && !b.has("webhook") && !b.has("client_endpoint") {
		if err := endpoints.Check(e.Access.Scheme(), e.Access.Host()); err != nil {
			b.add("portal", err.Error())
		}
	}
	if len(b.found) == 0 {
		e.Name = e.Access.Host() // without a port that the scheme has anyway
	}
	e.File, e.Line = file, r.line
	problems := make([]Problem, 0, len(b.found))
	for _, f := range b.found {
		problems = append(problems, Problem{File: file, Line: r.line, Field: f.field, Text: f.text})
	}
	return e, problems
}

// builder reads a row's texts, keeping what is wrong with them.
type builder struct {
	row   row
	found []fieldProblem
}

func (b *builder) add(field, text string) { b.found = append(b.found, fieldProblem{field, text}) }

func (b *builder) has(field string) bool {
	for _, f := range b.found {
		if f.field == field {
			return true
		}
	}
	return false
}

// asked reports whether the row has a place for a field, be it empty.
func (b *builder) asked(field string) bool {
	_, ok := b.row.values[field]
	return ok
}

func (b *builder) text(field string) string { return strings.TrimSpace(b.row.values[field]) }

func (b *builder) build() Entry {
	e := Entry{
		Name:         normalName(b.text("portal")),
		MemberID:     strings.ToLower(b.text("member_id")),
		ClientID:     b.text("client_id"),
		Plan:         strings.ToLower(b.text("plan")),
		RefreshToken: NewSecret(b.text("refresh_token")),
	}
	if e.Plan == "" {
		e.Plan = Standard
	}
	e.Limits = PlanLimits(e.Plan)
	e.Limits.Rate = b.number("rate", e.Limits.Rate, rangeRate)
	e.Limits.Burst = b.count("burst", e.Limits.Burst, rangeBurst)
	e.Limits.Headroom = b.number("headroom", 0, rangeHeadroom)
	e.Limits.Operating = b.seconds("operating_limit", e.Limits.Operating, rangeOperating)
	e.Limits.OperatingWindow = b.seconds("operating_window", e.Limits.OperatingWindow, rangeWindow)
	e.ServerTimeout = b.seconds("server_timeout", DefaultServerTimeout, rangeTimeout)
	e.Access = b.access(e.Name)
	return e
}

// access reads the one kind of credentials that a row gives.
func (b *builder) access(name string) bitrix.Access {
	webhook, token := b.text("webhook"), b.text("access_token")
	oauth := token != "" || b.text("refresh_token") != "" || b.text("client_endpoint") != ""
	switch {
	case webhook != "" && oauth:
		b.add("webhook", "is given beside OAuth tokens; give one of the two")
	case webhook != "":
		a, err := bitrix.ParseWebhook(webhook)
		if err != nil {
			b.add("webhook", strings.TrimPrefix(err.Error(), "webhook URL "))
		}
		return a
	case oauth && token == "":
		b.add("access_token", "is missing")
	case oauth && nameProblem(name) == "":
		endpoint := b.text("client_endpoint")
		if endpoint == "" {
			endpoint = name
		}
		a, err := bitrix.NewOAuth(endpoint, token)
		if err != nil {
			field, text := "access_token", strings.TrimPrefix(err.Error(), "access token ")
			if rest, ok := strings.CutPrefix(err.Error(), "client endpoint "); ok {
				field, text = "client_endpoint", rest
			}
			b.add(field, text)
		}
		return a
	case !oauth && !b.asked("webhook") && b.asked("access_token"):
		b.add("access_token", "is missing; give access_token, and refresh_token to have it renewed: alone it ends within the hour")
	case !oauth:
		b.add("webhook", missingAccess)
	}
	return bitrix.Access{}
}

// number reads a plain decimal number; fallback when there is none.
func (b *builder) number(field string, fallback float64, words string) float64 {
	text := b.text(field)
	if text == "" {
		return fallback
	}
	if strings.Trim(text, "0123456789.eE+-") != "" {
		hint := ""
		if strings.Contains(text, ",") {
			hint = " (with a point, not a comma)"
		}
		b.add(field, fmt.Sprintf("%s is not a number; it %s%s", show(text), words, hint))
		return fallback
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(n, 0) || math.IsNaN(n) {
		b.add(field, fmt.Sprintf("%s is not a number; it %s", show(text), words))
		return fallback
	}
	return n
}

func (b *builder) count(field string, fallback int, words string) int {
	n := b.number(field, float64(fallback), words)
	if n != math.Trunc(n) || math.Abs(n) > maxBurst {
		b.add(field, words)
		return fallback
	}
	return int(n)
}

// seconds reads a duration; what is outside any range must not overflow it.
func (b *builder) seconds(field string, fallback time.Duration, words string) time.Duration {
	n := b.number(field, fallback.Seconds(), words)
	if math.Abs(n) > maxWindow.Seconds() || n != 0 && math.Abs(n) < 0.001 { // the latter would become 0
		b.add(field, words)
		return fallback
	}
	return time.Duration(math.Round(n*1000)) * time.Millisecond
}
