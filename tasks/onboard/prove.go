// The proof of an install: its token has to open the portal that it names.

package onboard

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"botfleet/bitrix"
	"botfleet/ratelimit"
)

const (
	// proofWithin is how long a portal may take to answer.
	proofWithin = 10 * time.Second
	// proofTurn is how long a proof waits for its turn among this process's.
	proofTurn = 2 * time.Second
	// observeWithin bounds giving back a gate's ticket.
	observeWithin = 5 * time.Second
)

// proofLimits are how often one host is called for proofs: whoever sends us forms
// must not be able to make us hammer it, nor use up its request rate of 2 a second.
func proofLimits() ratelimit.Limits { return ratelimit.Limits{Rate: 1, Burst: 3} }

// stopping is the reason of what is broken off by Stop.
const stopping = "the worker stops"

// proof is what a portal said about a token.
type proof struct {
	// useless is why the portal, though it knows the token, does nothing for it;
	// empty when it does.
	useless string
}

// prove calls a portal with the token that an install brought. It returns a
// *refusal, a *delay or a *silence when nothing was proved.
func (s *Service) prove(ctx context.Context, a bitrix.Access) (proof, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)() //nolint:contextcheck // Stop breaks a proof off: it changes nothing

	turn, done := context.WithTimeout(ctx, proofTurn)
	defer done()
	if err := s.proofs.Wait(turn); err != nil {
		return proof{}, &delay{s.now().Add(proofTurn), "waits for its turn: this process calls no more portals at once"}
	}
	ticket, err := s.admit(ctx, a.Host())
	if err != nil {
		return proof{}, err
	}
	asked, stop := context.WithTimeout(ctx, proofWithin)
	defer stop()
	_, _, err = s.cfg.Prover.Bots(asked, a, "")
	s.observe(ctx, ticket, err)
	if s.ctx.Err() != nil && err != nil {
		return proof{}, &delay{s.now(), stopping}
	}
	return judge(err)
}

// admit asks the gate for leave to call a host.
func (s *Service) admit(ctx context.Context, host string) (ratelimit.Ticket, error) {
	d, err := s.cfg.Gate.Acquire(ctx, ratelimit.Request{
		Portal: proofName(host), Limits: proofLimits(), Credential: "install", Method: bitrix.MethodBotList, Rows: 1,
	})
	if err != nil {
		return ratelimit.Ticket{}, fmt.Errorf("ask leave to prove an install: %w", err)
	}
	if len(d.Go) == 0 {
		until := d.Until
		if least := s.now().Add(time.Second); until.Before(least) {
			until = least
		}
		return ratelimit.Ticket{}, &delay{until, "waits until the portal may be called: " + string(d.Reason)}
	}
	return d.Ticket, nil
}

// proofName is under what name the gate knows a host that proofs call. It is a
// hash, as strangers choose the host.
func proofName(host string) string {
	sum := sha256.Sum256([]byte(host))
	return "install-" + hex.EncodeToString(sum[:12])
}

// observe gives a ticket back. It never says that the portal is blocked: a wrong
// token must not shut the door to the next install.
func (s *Service) observe(ctx context.Context, t ratelimit.Ticket, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), observeWithin)
	defer cancel()
	if err := s.cfg.Gate.Observe(ctx, t, ratelimit.Answer{Outcome: outcomeOf(err)}); err != nil {
		s.log.Debug("a gate's ticket was not given back; it expires by itself", "err", err)
	}
}

func outcomeOf(err error) ratelimit.Outcome {
	e, ok := errors.AsType[*bitrix.Error](err)
	switch {
	case !ok:
		return ratelimit.Answered
	case e.Code == bitrix.CodeNotSent, e.Code == bitrix.CodeCancelled, e.Code == bitrix.CodeForbiddenEndpoint, e.Code == bitrix.CodeBadCall:
		return ratelimit.NotSent
	case e.Class == bitrix.Limit:
		return ratelimit.RateRefused
	case e.Class == bitrix.Ambiguous, e.Class == bitrix.Transient && e.Status == 0:
		return ratelimit.NoAnswer
	}
	return ratelimit.Answered
}

const (
	adviceAgain  = "have the application installed again"
	adviceMoved  = "the portal has another address by now: have the application installed again"
	adviceNobody = "nothing, unless a customer says that an install came to nothing: then have it installed again"
)

// judge says what a portal's answer proves.
func judge(err error) (proof, error) {
	e, failed := errors.AsType[*bitrix.Error](err)
	if !failed {
		return proof{}, err
	}
	if reason := uselessReason(e); reason != "" {
		return proof{useless: reason}, nil
	}
	said := e.Code
	if e.Description != "" {
		said += ": " + e.Description
	}
	switch {
	case e.Code == bitrix.CodePortalMoved:
		return proof{}, &refusal{"the proof was answered with a redirect, which is not followed: " + said, adviceMoved}
	case strings.EqualFold(e.Code, "expired_token"):
		return proof{}, &refusal{"its access token has expired: an install brings one that lives for an hour: " + said, adviceAgain}
	case e.Code == bitrix.CodeUnexpectedResult:
		return proof{}, &refusal{"the host does not answer as a portal: " + said, adviceNobody}
	case e.Class == bitrix.Ambiguous, e.Class == bitrix.Transient, e.Class == bitrix.Limit, strings.EqualFold(e.Code, "OVERLOAD_LIMIT"):
		return proof{}, &silence{e}
	}
	return proof{}, &refusal{"its access token does not open the portal that it names: " + said, adviceNobody}
}

// uselessReason is set for answers of a portal that knows the token: it looks at
// rights only after the token itself.
func uselessReason(e *bitrix.Error) string {
	var what string
	switch strings.ToUpper(e.Code) {
	case "INSUFFICIENT_SCOPE":
		what = "the application has no right to chat bots there: give it the scope imbot and have it installed again"
	case "USER_ACCESS_ERROR":
		what = "whoever installed the application may not use it: have an administrator install it again"
	case "ACCESS_DENIED":
		what = "the portal's plan has no REST, or it is closed to this application"
	default:
		return ""
	}
	return e.Code + ": " + what
}
