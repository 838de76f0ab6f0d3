// One call of a method: found, authorized, limited, run and charged, whether it
// came by itself or inside a batch.

package sandbox

import (
	"strings"
	"time"
)

// call is one method call.
type call struct {
	st      *PortalState
	method  string // in lower case
	params  *array
	signIn  signIn
	batched bool
	tally   tally // of the HTTP request

	id    identity
	cost  time.Duration // virtual work, charged without being waited for
	batch *batchRun     // of the call batch itself
}

func (c *call) dialect() Dialect { return c.st.cfg.Dialect }

// signIn is what a request brought to sign in with.
type signIn struct {
	webhook       bool
	user, secret  string
	token, sessid string
}

// identity is who a call turned out to be from.
type identity struct {
	name    string // no secret
	key     string // of operating time; holds a secret
	app     string // the OAuth application's id; empty for webhooks
	user    string
	webhook bool
	session bool
	scopes  []string
}

// outcome is how a call ended.
type outcome struct {
	result any
	fail   *failure
	span   span
}

// run takes a call through the portal's checks and does it.
func (c *call) run() outcome {
	st := c.st
	injected := st.refusal(c.method)
	if injected != nil && injected.When != After {
		return c.failed(injected.failure(c.dialect()))
	}
	m, ok := lookupMethod(c.method)
	if !ok {
		return c.failed(c.dialect().fail("ERROR_METHOD_NOT_FOUND"))
	}
	if f := c.authorize(m.scope); f != nil {
		return c.failed(f)
	}
	start := st.box.now()
	key := c.counterKey()
	if st.overworked(key, start) {
		f := c.dialect().fail("OPERATION_TIME_LIMIT")
		st.note(Violation{At: start, Kind: OverOperating, Method: c.method, Credential: c.id.name})
		return c.failed(f)
	}
	result, f := m.run(c)
	if f == nil && injected != nil {
		f = injected.failure(c.dialect())
	}
	if f != nil {
		return c.failed(f)
	}
	st.count(c.method, "")
	return outcome{result: result, span: c.charge(key, start)}
}

// failed counts an error. Failed calls are charged nothing.
func (c *call) failed(f *failure) outcome {
	c.st.count(c.method, f.code)
	return outcome{fail: f}
}

// counterKey names the counter of operating time that this call fills; "" for
// none of its own.
func (c *call) counterKey() string {
	as := c.st.cfg.CountsBatchAs
	switch {
	case c.batched && as == BatchAsBatch:
		return ""
	case c.batched && as == BatchShared && c.id.webhook:
		return "webhooks in batches|" + c.method
	}
	return c.id.key + "|" + c.method
}

// overworked reports that a counter is over the limit: not when it has reached
// it, only when it exceeds it.
func (st *PortalState) overworked(key string, now time.Time) bool {
	if st.cfg.OperatingLimit <= 0 || key == "" {
		return false
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.work.used(key, now, st.cfg.OperatingWindow) > st.cfg.OperatingLimit
}

// charge adds what the call has cost to its counter and says how it stands.
func (c *call) charge(key string, start time.Time) span {
	st := c.st
	now := st.box.now()
	s := span{start: start, finish: now}
	spent := now.Sub(start) + c.cost
	if c.method == "batch" {
		// The calls inside have been charged already, or else are charged here.
		spent = 0
		if st.cfg.CountsBatchAs == BatchAsBatch {
			spent = c.batch.spent
		}
	}
	if c.batch == nil {
		c.cost = spent
	}
	if key == "" || st.cfg.OperatingLimit <= 0 && !st.cfg.ReportsOperating {
		return s
	}
	if c.dialect() == Published {
		spent = c.tally.due(key, spent, scaled(fixedFrom, st.box.opts.scale))
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	window := st.cfg.OperatingWindow
	if spent > 0 {
		st.work.charge(key, now, window, spent)
	}
	if s.reports = st.cfg.ReportsOperating; s.reports {
		s.used = st.work.used(key, now, window)
		s.resetAt = now.Add(window + time.Second - time.Nanosecond).Unix()
		if counted := st.work[key]; counted != nil {
			s.resetAt = counted.resetAt(now, window, c.dialect() == Published)
		}
	}
	return s
}

// method is one REST method of the portal.
type method struct {
	scope string // "" needs none
	run   func(*call) (any, *failure)
}

// lookupMethod finds a method by its name in lower case.
func lookupMethod(name string) (method, bool) {
	switch name {
	case "imbot.register":
		return method{"imbot", (*call).register}, true
	case "imbot.unregister":
		return method{"imbot", (*call).unregister}, true
	case "imbot.update":
		return method{"imbot", (*call).update}, true
	case "imbot.bot.list":
		return method{"imbot", (*call).list}, true
	case "batch":
		return method{"", (*call).runBatch}, true
	case "profile":
		return method{"", (*call).profile}, true
	case "scope":
		return method{"", (*call).scope}, true
	case "app.info":
		return method{"", (*call).appInfo}, true
	}
	return method{}, false
}

// profile tells who is signed in.
func (c *call) profile() (any, *failure) {
	out := &array{}
	out.set("ID", c.id.user)
	out.set("ADMIN", true)
	out.set("NAME", "Sandbox")
	out.set("LAST_NAME", "Administrator")
	out.set("PERSONAL_GENDER", "")
	return out, nil
}

// scope lists what the credentials may do.
func (c *call) scope() (any, *failure) {
	out := &array{}
	for _, s := range c.scopes() {
		out.add(s)
	}
	return out, nil
}

// appInfo tells about the application; a webhook has none but its scopes.
func (c *call) appInfo() (any, *failure) {
	out := &array{}
	if c.id.app != "" {
		out.set("CODE", c.id.app)
		out.set("STATUS", "L")
		out.set("INSTALLED", true)
	}
	scopes, _ := c.scope()
	out.set("SCOPE", scopes)
	return out, nil
}

func (c *call) scopes() []string {
	return scopesOf(c.id.scopes, c.st.cfg.Scopes)
}

// scopesOf is what a credential may do, by itself or as its portal says.
func scopesOf(own, portal []string) []string {
	switch {
	case own != nil:
		return own
	case portal != nil:
		return portal
	}
	return []string{"im", "imbot", "imopenlines"}
}

// methodName brings a name from a path or a batch to the form it is looked up by.
func methodName(s string) string {
	return strings.TrimSuffix(strings.ToLower(strings.Trim(s, "/ ")), ".json")
}
