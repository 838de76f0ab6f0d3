// The form that a portal sends: reading it, and nothing else.

package onboard

import (
	"errors"
	"net/url"
	"strings"

	"botfleet/bitrix"
)

// The events that are worked on, as portals name them.
const (
	eventInstall   = "ONAPPINSTALL"
	eventUninstall = "ONAPPUNINSTALL"
)

// Longest values of a form, in bytes: well above what portals send, and low
// enough that a kept event stays under 6 KB.
const (
	maxEventName = 64
	maxMemberID  = 64   // 32 hexadecimal digits
	maxAppToken  = 256  // 32 hexadecimal digits
	maxToken     = 1024 // some 70 characters
	maxDomain    = 260  // a host name has 253 characters, RFC 1035; and a port
	maxEndpoint  = 512
	maxTime      = 20 // unix seconds
)

// event is what a portal told. Its secrets do not print.
type event struct {
	name     string // upper case
	domain   string // auth[domain]: host[:port] in its one form
	endpoint string // auth[client_endpoint] as given; may be empty
	member   string // auth[member_id], lower case
	app      bitrix.Secret
	access   bitrix.Secret // of an install
	refresh  bitrix.Secret // of an install
	at       string        // ts: when the portal says that it happened
}

// known says whether the event is one that is worked on.
func (e *event) known() bool { return e.name == eventInstall || e.name == eventUninstall }

// parseForm reads a form body (application/x-www-form-urlencoded). Its errors
// are fixed texts, which hold nothing of the form. An event of another name has
// only to say which portal it comes from.
func parseForm(body string) (event, error) {
	form, err := url.ParseQuery(body)
	if err != nil {
		return event{}, errors.New("the body is no form")
	}
	f := fields{form: form}
	e := event{
		name:     strings.ToUpper(f.plain("event", maxEventName, required)),
		domain:   f.plain("auth[domain]", maxDomain, optional),
		endpoint: f.plain("auth[client_endpoint]", maxEndpoint, optional),
		member:   strings.ToLower(f.plain("auth[member_id]", maxMemberID, required)),
		app:      bitrix.NewSecret(f.plain("auth[application_token]", maxAppToken, required)),
		at:       f.plain("ts", maxTime, optional),
	}
	if e.name == eventInstall {
		e.access = bitrix.NewSecret(f.plain("auth[access_token]", maxToken, required))
		e.refresh = bitrix.NewSecret(f.plain("auth[refresh_token]", maxToken, required))
	}
	if f.problem != nil {
		return event{}, f.problem
	}
	if !e.known() {
		return e, nil
	}
	if !isMemberID(e.member) {
		return event{}, errors.New("auth[member_id] holds characters that no member_id has")
	}
	if err := e.settleDomain(); err != nil {
		return event{}, err
	}
	return e, nil
}

// settleDomain writes the domain in its one form, taking it from the endpoint
// where the form has none.
func (e *event) settleDomain() error {
	from := e.domain
	if strings.ContainsAny(from, "/") {
		return errors.New("auth[domain] is not a host")
	}
	if from == "" {
		from = e.endpoint
	}
	a, err := bitrix.NewOAuth(from, "none") // it is the reader of hosts; no token is needed for that
	if err != nil {
		return errors.New("auth[domain] is not a host, or there is neither it nor auth[client_endpoint]")
	}
	e.domain = a.Host()
	return nil
}

// isMemberID reports whether s can be a member_id: it becomes part of log lines.
func isMemberID(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
	}) < 0
}

const (
	required = true
	optional = false
)

// fields reads the values of a form and keeps the first problem.
type fields struct {
	form    url.Values
	problem error
}

// plain is a value of visible ASCII characters.
func (f *fields) plain(name string, longest int, needed bool) string {
	values := f.form[name]
	var problem string
	switch {
	case len(values) > 1:
		problem = " is there twice"
	case len(values) == 0 || values[0] == "":
		if !needed {
			return ""
		}
		problem = " is missing"
	case len(values[0]) > longest:
		problem = " is too long"
	case strings.IndexFunc(values[0], func(r rune) bool { return r <= ' ' || r > '~' }) >= 0:
		problem = " holds a space, a control character or a letter outside ASCII"
	default:
		return values[0]
	}
	if f.problem == nil {
		f.problem = errors.New(name + problem)
	}
	return ""
}
