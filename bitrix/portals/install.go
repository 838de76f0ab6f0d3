// Portals that install the application by themselves.

package portals

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"time"

	"botfleet/bitrix"
	"botfleet/ratelimit"
)

// Install is what a portal that installed the application brought. The caller
// has proved it: the access token works on that host and for that member_id.
type Install struct {
	MemberID string // in any case
	Access   bitrix.Access
	Refresh  bitrix.Secret
	AppToken bitrix.Secret    // application_token: later events must carry it
	Plan     string           // of a new portal; empty means Standard
	Limits   ratelimit.Limits // of a new portal; zero means the plan's
	// ServerTimeout of a new portal; 0 means DefaultServerTimeout.
	ServerTimeout time.Duration
}

// Installed is what became of an install.
type Installed struct {
	Portal Portal
	// New says that the portal was not installed before: the first time, or
	// again after it was gone.
	New bool
	// Count is how many times it became installed, from 1; a repeat does not
	// count. With the portal's id it names what one install sets off.
	Count int
}

// RefusedError is returned for an install or uninstall that must not happen.
// Its text is for the log: who asked may be hostile, and learns nothing.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return "refused: " + e.Reason }

// MayInstall says beforehand whether [Registry.Install] would store in: nil or
// a [*RefusedError], or what kept it from finding out. It stores nothing.
func (r *Registry) MayInstall(ctx context.Context, in Install) error {
	_, err := r.matchInstall(ctx, in)
	return err
}

// Install stores a portal that has proved itself. One that is known by
// member_id or host keeps its id, queue, plan, limits and handlers; a webhook
// portal becomes an OAuth one. New tokens end a hold, unless a person made it.
// A repeat that brings the tokens last brought changes nothing: they may have
// been refreshed since.
//
// [*RefusedError] when the application_token is not the known one; when none
// is known, and the host is not the known one either; when the host belongs to
// another portal. One that is gone may be installed anew from any host with
// any application_token, and does not insist on its host.
func (r *Registry) Install(ctx context.Context, in Install) (Installed, error) {
	if r.keys.Empty() {
		return Installed{}, ErrNoKey
	}
	p, portal, err := r.edit(ctx, func() (plan, error) {
		p, err := r.matchInstall(ctx, in)
		if err != nil {
			return p, err
		}
		return p, p.installing(r, in)
	})
	return Installed{Portal: portal, New: p.is.Installs != p.was.Installs, Count: p.is.Installs}, err
}

// problem says what makes in useless; "" when nothing does.
func (in *Install) problem() string {
	if text := textProblem(in.MemberID); text != "" {
		return "member_id " + text
	}
	if text := nameProblem(in.Access.Host()); text != "" {
		return "host " + text
	}
	switch {
	case normalName(in.MemberID) == "":
		return "member_id is missing"
	case in.AppToken.Reveal() == "":
		return "application_token is missing"
	case in.Access.Webhook():
		return "a webhook is no application"
	case in.Plan != "" && planProblem(in.Plan) != "":
		return "plan " + planProblem(in.Plan)
	}
	if all := limitProblems(in.entry().Limits, in.entry().ServerTimeout); len(all) > 0 {
		return all[0].field + " " + all[0].text
	}
	return ""
}

// matchInstall decides which stored portal installs, and whether it may.
func (r *Registry) matchInstall(ctx context.Context, in Install) (plan, error) {
	refuse := func(format string, args ...any) (plan, error) {
		return plan{}, &RefusedError{fmt.Sprintf(format, args...)}
	}
	if text := in.problem(); text != "" {
		return refuse("%s", text)
	}
	host, member := in.Access.Host(), normalName(in.MemberID)
	byHost, byMember, err := r.holders(ctx, []string{host}, []string{member})
	if err != nil {
		return plan{}, err
	}
	there, known := byHost[0], byMember[0]
	lapsed := there.formerly(host) || there.rec.Gone != nil
	if known.id == "" && there.id != "" && there.rec.MemberID == "" && there.rec.Name == host {
		known = there // known by its host alone
	}
	if there.id != "" && there.id != known.id && !lapsed {
		return refuse("host %s belongs to another stored portal", host)
	}
	if known.id != "" && known.rec.Gone == nil {
		switch {
		case known.rec.AppHash != "" && !known.rec.appTokenIs(in.AppToken):
			return refuse("portal %s: the application_token is not the known one", known.rec.Name)
		case known.rec.AppHash == "" && known.rec.Name != host:
			return refuse("portal %s: no application_token is known, and the host %s is another", known.rec.Name, host)
		}
	}
	p := planFor(known)
	if there.id != "" && there.id != known.id {
		p = p.over(there)
	}
	return p, nil
}

// installing works out the new record.
func (p *plan) installing(r *Registry, in Install) error {
	p.begin(r)
	if p.wasRaw == "" {
		p.is = newRecord(in.entry(), p.is.Queue)
	}
	is, was := &p.is, &p.was
	src, gone := source(in.Access, in.Refresh), was.Gone != nil
	is.come()
	if is.MemberID = normalName(in.MemberID); is.AppHash == "" {
		is.Installs++
	}
	is.AppHash = hashed(in.AppToken)
	same := was.brought(src) || was.Credential == in.Access.Fingerprint()
	if was.Kind == OAuth && !gone && same && was.opens(r.keys, p.id) {
		p.lapsed = stored{}
		return p.encode()
	}
	if is.Name != in.Access.Host() {
		is.rename(in.Access.Host())
	}
	is.Generation = p.next()
	is.replaced(was, src)
	is.InstallSource, is.ClientID, p.ends = src, "", endOwn
	if err := is.seal(r.keys, p.id, in.Access, in.Refresh); err != nil {
		return err
	}
	return p.encode()
}

// entry is what a new portal begins with.
func (in *Install) entry() *Entry {
	e := &Entry{MemberID: in.MemberID, Plan: in.Plan, Limits: in.Limits, ServerTimeout: in.ServerTimeout, Access: in.Access}
	if e.Plan == "" {
		e.Plan = Standard
	}
	if e.Limits == (ratelimit.Limits{}) {
		e.Limits = PlanLimits(e.Plan)
	}
	if e.ServerTimeout == 0 {
		e.ServerTimeout = DefaultServerTimeout
	}
	return e
}

// hashed is how an application_token is stored.
func hashed(appToken bitrix.Secret) string {
	sum := sha256.Sum256([]byte(appToken.Reveal()))
	return hex.EncodeToString(sum[:])
}

// appTokenIs compares an application_token with the known one, in a time that
// tells nothing about it.
func (rec *record) appTokenIs(appToken bitrix.Secret) bool {
	return rec.AppHash != "" && subtle.ConstantTimeCompare([]byte(hashed(appToken)), []byte(rec.AppHash)) == 1
}

// Uninstall marks a portal as gone, if the application_token is its own. One
// that is gone already stays as it is. It returns the portal without its
// credentials. Errors: [*RefusedError], [*UnknownError].
func (r *Registry) Uninstall(ctx context.Context, memberID string, appToken bitrix.Secret, at time.Time) (Portal, error) {
	member := normalName(memberID)
	closed := *r
	closed.open = false // what does not open can go, too
	_, portal, err := closed.edit(ctx, func() (plan, error) {
		_, byMember, err := r.holders(ctx, nil, []string{member})
		if err != nil {
			return plan{}, err
		}
		p := planFor(byMember[0])
		switch {
		case p.wasRaw == "" || member == "":
			return p, &UnknownError{Name: memberID}
		case p.was.AppHash == "":
			return p, &RefusedError{"portal " + p.was.Name + ": no application_token is known"}
		case !p.was.appTokenIs(appToken):
			return p, &RefusedError{"portal " + p.was.Name + ": the application_token is not the known one"}
		case p.was.Gone == nil:
			p.is.Gone = &goneRecord{Reason: uninstalled, Since: max(at.UnixMilli(), 0)}
		}
		return p, p.encode()
	})
	return portal, err
}

const uninstalled = "the application was uninstalled"
