// An authorization server that gives nobody a token, as the log tells of it.

package signin

import (
	"strings"
	"time"

	"botfleet/bitrix"
)

// troubleAgain is how soon after one trouble was told of another one is: a server
// that fails for some portals and not for others would fill the log.
const troubleAgain = time.Minute

// trouble is whether the authorization server gives tokens.
type trouble struct {
	told bool
	at   time.Time // when it was last told of
}

// authFailed notes a request to the authorization server that brought no answer,
// or none that is about the portal alone.
func (c *Caller) authFailed(e *bitrix.Error) {
	if !c.tellTrouble() {
		return
	}
	c.Log.Warn("the authorization server gives no tokens", "code", e.Code, "reason", e.Description, "do", authAdvice(e))
}

func (c *Caller) tellTrouble() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, now := &c.auth, c.Now()
	if t.told || now.Sub(t.at) < troubleAgain {
		return false
	}
	t.told, t.at = true, now
	return true
}

// authWorks notes that the authorization server has given a token.
func (c *Caller) authWorks() {
	c.mu.Lock()
	told := c.auth.told
	c.auth.told = false
	c.mu.Unlock()
	if told {
		c.Log.Info("the authorization server gives tokens again")
	}
}

// authAdvice is what a person can do.
func authAdvice(e *bitrix.Error) string {
	if strings.EqualFold(e.Code, "invalid_client") {
		return "correct BITRIX_CLIENT_ID and BITRIX_CLIENT_SECRET of every worker, and restart them"
	}
	return "nothing: rows wait and go on by themselves; if it lasts, look at the network and BITRIX_OAUTH_URL"
}
