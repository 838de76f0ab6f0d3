// When the authorization server is left alone.

package bitrix

import (
	"sync"
	"time"
)

// health is what an exchange says about the authorization server.
type health int

const (
	untold  health = iota // nothing: it did not come to an exchange, or the caller gave up
	well                  // it answers as it should
	ill                   // it fails
	refuses               // it answers nothing to this application, or may not be called
)

const (
	illInARow  = 3 // failures after which it is left alone
	minClosure = 5 * time.Second
	maxClosure = 5 * time.Minute
)

// closure counts failures of the server, whatever portal they met. After some
// in a row nobody asks for a while, then one request at a time; the while
// doubles until an answer comes. One answer ends it all. One portal alone
// cannot shut the server for others: between its failures theirs succeed.
type closure struct {
	mu       sync.Mutex
	failures int           // in a row
	since    time.Time     // the first of them
	span     time.Duration // of the closure; 0 while it is open
	until    time.Time     // end of the closure
	probing  bool          // somebody is out to see whether the server is back
	last     *Error        // the last failure, without its Wait
}

// pass is what enter gives and leave takes.
type pass struct{ probe bool }

// shutError says that the server must be left alone.
type shutError struct {
	wait Wait
	last *Error
}

// enter says whether a request may be made.
func (c *closure) enter(now time.Time) (pass, *shutError) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.span == 0:
		return pass{}, nil
	case now.Before(c.until):
		return pass{}, &shutError{Wait{Until: c.until, Since: c.since}, c.last}
	case c.probing:
		return pass{}, &shutError{Wait{Until: now.Add(minClosure), Since: c.since}, c.last}
	}
	c.probing = true
	return pass{probe: true}, nil
}

// leave notes how an exchange went, and returns when to ask again if the
// server cannot be asked now.
func (c *closure) leave(p pass, h health, failed *Error, now time.Time) *Wait {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.probe {
		c.probing = false
	}
	switch h {
	case untold:
		return nil
	case well:
		c.failures, c.span, c.last = 0, 0, nil
		return nil
	case ill, refuses:
	}
	if c.failures == 0 {
		c.since = now
	}
	c.failures++
	c.last = failed
	// What began before the closure and fails in it says nothing new.
	if shut := c.span > 0; shut && p.probe || !shut && c.failures >= illInARow {
		c.span = min(max(2*c.span, minClosure), maxClosure)
		c.until = now.Add(c.span)
	}
	if c.span == 0 && h == ill {
		return nil
	}
	wait := &Wait{Until: c.until, Since: c.since}
	if soon := now.Add(minClosure); wait.Until.Before(soon) {
		wait.Until = soon
	}
	return wait
}

// shut is the error of a request that is not made.
func (k *tokenCall) shut(s *shutError) *Error {
	text := "the authorization server is left alone for a while"
	code := CodeNotSent
	if s.last != nil {
		code = s.last.Code
		text += "; last time: " + s.last.Description
	}
	failed := k.fail(Transient, code, text, nil)
	failed.Wait = &s.wait
	return failed
}
