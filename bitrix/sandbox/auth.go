// Who a call is from, and whether it may.

package sandbox

import "slices"

// authorize fills in the call's identity and checks its scope.
func (c *call) authorize(scope string) *failure {
	f := c.identify()
	if f != nil {
		return f
	}
	granted := c.id.scopes
	if granted == nil {
		granted = c.st.cfg.Scopes
	}
	if scope != "" && granted != nil && !slices.Contains(granted, scope) {
		f := c.dialect().fail("insufficient_scope")
		if c.id.webhook {
			f.say("The request requires higher privileges than provided by the webhook token")
		}
		return f
	}
	return nil
}

func (c *call) identify() *failure {
	st, in := c.st, c.signIn
	st.mu.Lock()
	defer st.mu.Unlock()
	switch {
	case in.webhook:
		w, ok := st.webhooks[in.user+"/"+in.secret]
		if !ok && !st.cfg.AnyWebhook {
			return c.dialect().fail("INVALID_CREDENTIALS")
		}
		c.id = identity{name: "webhook of user " + clip(in.user), key: "webhook " + in.user + "/" + in.secret,
			user: in.user, webhook: true, scopes: w.Scopes}
	case in.token != "":
		return c.identifyToken()
	case in.sessid != "":
		if !slices.Contains(st.cfg.Sessions, Secret(in.sessid)) {
			return c.dialect().fail("NO_AUTH_FOUND")
		}
		c.id = identity{name: "session", key: "session", user: "1", session: true}
	default:
		return c.dialect().fail("NO_AUTH_FOUND")
	}
	return nil
}

func (c *call) identifyToken() *failure {
	t, ok := c.st.tokens[Secret(c.signIn.token)]
	if !ok {
		return c.notLiving()
	}
	if !t.Expires.IsZero() && !c.st.box.now().Before(t.Expires) {
		return c.dialect().fail("expired_token")
	}
	user := t.User
	if user == "" {
		user = "1"
	}
	c.id = identity{name: "application " + t.App, key: "application " + t.App, app: t.App, user: user, scopes: t.Scopes}
	return nil
}
