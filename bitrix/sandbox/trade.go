// One token request: looked at, traded or refused, answered.

package sandbox

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// trade is one token request.
type trade struct {
	*exchange // its st is the portal that the refresh token names; nil for none
	auth      *AuthServer
	token     token
}

// serve answers a request whose Host is the authorization server's.
func (a *AuthServer) serve(w http.ResponseWriter, r *http.Request, body []byte) {
	if strings.Trim(r.URL.Path, "/") != authMethod {
		page(http.StatusNotFound).write(w)
		return
	}
	t := &trade{auth: a, exchange: &exchange{box: a.box, w: w, r: r, method: authMethod, params: &array{}}}
	parseForm(r.URL.RawQuery, t.params)
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		parseForm(string(body), t.params)
	}
	t.st, t.token = a.box.secrets.issuer(t.params.text("refresh_token"))
	t.enter()
	defer t.leave()
	if !a.box.sleep(a.latency) {
		panic(http.ErrAbortHandler)
	}
	t.answer()
}

// answer trades, and lets the request's fault spoil that.
func (t *trade) answer() {
	f := t.fault
	if f != nil && f.When == Before {
		if f.Kind == Refuse {
			t.finish(t.refusal())
			return
		}
		t.strike(authFailure("INTERNAL_SERVER_ERROR").reply())
		return
	}
	rep := t.front()
	if rep == nil {
		rep = t.run()
	}
	switch {
	case f == nil, f.Kind == Refuse && rep.code != "":
		t.finish(rep)
	case f.Kind == Refuse:
		t.finish(t.refusal())
	default:
		t.log.Code = rep.code
		t.strike(rep)
	}
}

// refusal is the answer of a fault of kind Refuse.
func (t *trade) refusal() *reply {
	fail := authFailure(t.fault.Code)
	if t.fault.Status != 0 {
		fail.status = t.fault.Status
	}
	if !t.pause(t.fault.Delay) {
		panic(http.ErrAbortHandler)
	}
	t.refused(fail.code)
	return fail.reply()
}

// finish gives an answer undisturbed.
func (t *trade) finish(rep *reply) {
	t.log.Status, t.log.Code = rep.status, rep.code
	rep.write(t.w)
}

// front is the request rate. It returns nil when the request may go on.
func (t *trade) front() *reply {
	a := t.auth
	if a.rate <= 0 || a.burst <= 0 {
		return nil
	}
	remote := sourceOf(t.r.RemoteAddr)
	a.mu.Lock()
	now := a.box.now()
	_, ok := a.sources.add(remote, now, a.rate, int(a.burst))
	a.mu.Unlock()
	if ok {
		return nil
	}
	a.note(Violation{At: now, Kind: OverRate, Host: clip(t.r.Host), Method: authMethod})
	return t.refuse("QUERY_LIMIT_EXCEEDED")
}

// run makes the checks in the server's order, and the trade.
func (t *trade) run() *reply {
	p := t.params
	for _, name := range []string{"grant_type", "client_id", "client_secret", "refresh_token"} {
		if p.text(name) == "" {
			return t.refuse("invalid_request")
		}
	}
	app := p.text("client_id")
	secret, ok := t.box.opts.apps[app]
	switch {
	case p.text("grant_type") != "refresh_token":
		return t.refuse("invalid_request")
	case !ok || p.text("client_secret") != string(secret):
		return t.refuse("invalid_client")
	case t.st == nil || t.token.kind != refreshToken || t.st.cfg.App != app:
		return t.refuse("invalid_grant")
	}
	lost := t.fault != nil || t.r.Context().Err() != nil
	body, broken := t.st.trade(t.token, lost)
	if broken != "" {
		t.st.note(Violation{At: t.box.now(), Kind: broken, Host: clip(t.r.Host), Method: authMethod, Secret: t.token.kind.String()})
	}
	if body == nil {
		return t.refuse("invalid_grant")
	}
	t.tally(func(s *AuthStats) {
		s.Refreshes++
		if lost {
			s.Lost++
		}
	})
	return &reply{status: http.StatusOK, kind: kindJSON, body: body}
}

// authStatuses are the authorization server's errors: status and text.
var authStatuses = map[string]struct {
	status int
	text   string
}{
	"INVALID_REQUEST":       {400, "Required parameters are missing"},
	"INVALID_CLIENT":        {401, "Unable to find application"},
	"UNAUTHORIZED_CLIENT":   {401, "The application may not do this"},
	"INVALID_GRANT":         {400, "Refresh token is invalid or expired"},
	"INVALID_SCOPE":         {400, "Requested scope is not granted"},
	"PAYMENT_REQUIRED":      {402, "Payment required"},
	"QUERY_LIMIT_EXCEEDED":  {503, "Too many requests"},
	"INTERNAL_SERVER_ERROR": {500, "Internal server error"},
}

// authFailure makes the authorization server's failure for a code.
func authFailure(code string) *failure {
	f := &failure{status: http.StatusBadRequest, code: code, description: "Unknown error"}
	if k, ok := authStatuses[strings.ToUpper(code)]; ok {
		f.status, f.description = k.status, k.text
	}
	return f
}

// refuse counts an error and makes its answer.
func (t *trade) refuse(code string) *reply {
	t.refused(code)
	return authFailure(code).reply()
}

func (t *trade) refused(code string) { t.tally(func(s *AuthStats) { s.refused(code) }) }

// tally counts something for the server and for the portal.
func (t *trade) tally(count func(*AuthStats)) {
	t.auth.mu.Lock()
	count(&t.auth.stats)
	t.auth.mu.Unlock()
	if t.st != nil {
		t.st.mu.Lock()
		count(&t.st.grant.stats)
		t.st.mu.Unlock()
	}
}

// enter counts the request in and decides its fault: the server's own first,
// then the portal's that name this method.
func (t *trade) enter() {
	a := t.auth
	now := a.box.now()
	t.log = RequestLog{At: now, Method: authMethod, UserAgent: clip(t.r.UserAgent())}
	a.mu.Lock()
	t.log.Seq = a.requests
	a.requests++
	a.inWork++
	a.stats.Requests++
	a.stats.MaxConcurrent = max(a.stats.MaxConcurrent, a.inWork)
	t.fault = firstStriking(a.faults, a.box, "", t.log.Seq, now, func(f *armed) bool { return f.Kind != DieMidway })
	a.mu.Unlock()
	if st := t.st; st != nil {
		t.log.Credential = "portal " + st.cfg.Name
		st.mu.Lock()
		g := &st.grant
		g.inWork++
		if t.fault == nil {
			t.fault = firstStriking(st.faults, a.box, st.cfg.Name, uint64(g.stats.Requests), now, func(f *armed) bool { //nolint:gosec // a count
				return f.Kind != DieMidway && slices.Contains(f.Methods, authMethod)
			})
		}
		g.stats.Requests++
		g.stats.MaxConcurrent = max(g.stats.MaxConcurrent, g.inWork)
		st.mu.Unlock()
	}
	if t.fault != nil {
		t.log.Fault = t.fault.Kind
		t.tally(func(s *AuthStats) { s.struck(t.fault.Kind) })
	}
}

// firstStriking finds the first fault that strikes a token request. The caller holds
// the lock of the faults.
func firstStriking(faults []*armed, box *Sandbox, portal string, seq uint64, now time.Time, concerns func(*armed) bool) *Fault {
	for _, f := range faults {
		if concerns(f) && f.strikesNow(box, portal, authMethod, seq, now) {
			return new(f.Fault)
		}
	}
	return nil
}

// leave counts it out and logs it.
func (t *trade) leave() {
	a := t.auth
	t.log.Duration = a.box.now().Sub(t.log.At)
	if t.st != nil {
		t.st.mu.Lock()
		t.st.grant.inWork--
		t.st.mu.Unlock()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.inWork--
	a.log.add(t.log)
}
