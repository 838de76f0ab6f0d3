// Installing and uninstalling an application: the events that a portal sends.

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Install installs the application on the portal of that name, see
// [PortalState.Install]; nil when there is no such portal.
func (s *Sandbox) Install(name string) url.Values {
	if st := s.Portal(name); st != nil {
		return st.Install()
	}
	return nil
}

// Uninstall uninstalls it, see [PortalState.Uninstall].
func (s *Sandbox) Uninstall(name string) url.Values {
	if st := s.Portal(name); st != nil {
		return st.Uninstall()
	}
	return nil
}

// Install installs the application, unless it is installed, and returns the
// form of the event ONAPPINSTALL: the same pair and application_token however
// often it is asked for, a new pair when a token of it is no longer good, and a
// new application_token only after [PortalState.Uninstall]. nil when the portal
// has no application.
func (st *PortalState) Install() url.Values {
	if st.cfg.App == "" {
		return nil
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	g, now := &st.grant, st.box.now()
	if g.gone {
		st.renewAppToken()
	}
	if g.gone || g.revoked || !now.Before(g.accessEnds) || !now.Before(g.refreshEnds) {
		st.issue()
		g.floor = g.generation
	}
	g.gone = false
	form := st.event("ONAPPINSTALL", now)
	form.Set("data[VERSION]", "1")
	form.Set("data[ACTIVE]", "Y")
	form.Set("data[INSTALLED]", "Y")
	form.Set("auth[access_token]", string(g.access))
	form.Set("auth[refresh_token]", string(g.refresh))
	form.Set("auth[expires]", strconv.FormatInt(g.accessEnds.Unix(), 10))
	form.Set("auth[expires_in]", itoa(st.box.expiresIn()))
	form.Set("auth[scope]", strings.Join(scopesOf(nil, st.cfg.Scopes), ","))
	form.Set("auth[status]", appStatus)
	form.Set("auth[user_id]", "1")
	return form
}

// Uninstall uninstalls the application and returns the form of the event
// ONAPPUNINSTALL, the same however often. From then on its access tokens are
// APPLICATION_NOT_FOUND and its refresh token is dead. nil when the portal has
// no application.
func (st *PortalState) Uninstall() url.Values {
	if st.cfg.App == "" {
		return nil
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.grant.gone = true
	st.bury(func(Token) bool { return true })
	form := st.event("ONAPPUNINSTALL", st.box.now())
	form.Set("data[CLEAN]", "1")
	return form
}

// event is what both events say. The caller holds the lock.
func (st *PortalState) event(name string, now time.Time) url.Values {
	return url.Values{
		"event":                   {name},
		"event_handler_id":        {"1"},
		"ts":                      {strconv.FormatInt(now.Unix(), 10)},
		"data[LANGUAGE_ID]":       {"ru"},
		"auth[domain]":            {st.name},
		"auth[server_endpoint]":   {serverEndpoint},
		"auth[client_endpoint]":   {endpoint(st.name)},
		"auth[member_id]":         {st.grant.member},
		"auth[application_token]": {string(st.grant.appToken)},
	}
}

// SendInstall delivers the event ONAPPINSTALL to an application's handler as a
// portal does, once, and returns the answer's status. Redirects are not
// followed. A caller that wants it repeated calls again.
func (st *PortalState) SendInstall(ctx context.Context, handler string) (status int, err error) {
	return st.box.send(ctx, handler, st.Install())
}

// SendUninstall delivers the event ONAPPUNINSTALL.
func (st *PortalState) SendUninstall(ctx context.Context, handler string) (status int, err error) {
	return st.box.send(ctx, handler, st.Uninstall())
}

// maxAnswer is how much of a handler's answer is read; nobody looks at it.
const maxAnswer = 64 << 10

// send posts an event's form over a connection of its own.
func (s *Sandbox) send(ctx context.Context, handler string, form url.Values) (int, error) {
	if form == nil {
		return 0, errors.New("send event: the portal has no application")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, handler, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, fmt.Errorf("send event: %w", err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("User-Agent", "Bitrix24 Webhook Engine")
	resp, err := s.events.Do(r)
	if err != nil {
		return 0, fmt.Errorf("send event: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer)) // the status is the answer
	return resp.StatusCode, nil
}

// newEventClient calls handlers: for real, past the sandbox's transport.
func newEventClient() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// isLoopback reports whether a portal's name is an address of this machine.
func isLoopback(name string) bool {
	host, _, err := net.SplitHostPort(name)
	if err != nil {
		host = name
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
