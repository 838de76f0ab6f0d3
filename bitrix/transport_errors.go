// From a failure below HTTP to an *Error: what happened, and whether the
// request had left by then.

package bitrix

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
)

// notSent is a call that was given up before anything left.
func (k *call) notSent(reason error) *Error {
	text := "given up before sending: the call was cancelled"
	if errors.Is(reason, context.DeadlineExceeded) {
		text = "given up before sending: its time was over"
	}
	return k.fail(Transient, CodeNotSent, text, reason)
}

// transportError judges a request that brought no answer.
func (k *call) transportError(err error, sent bool, refused error) *Error {
	switch {
	case sent:
		return k.lostError(err)
	case refused != nil:
		return k.notSent(refused)
	case errors.Is(k.caller.Err(), context.Canceled):
		return k.notSent(context.Canceled)
	}
	return k.unsentError(err)
}

// lostError is a request that left and was not answered.
func (k *call) lostError(err error) *Error {
	code, text := k.brokenOff(err)
	return k.fail(Ambiguous, code, text, k.identify(err))
}

// unsentError is a connection that did not come about.
func (k *call) unsentError(err error) *Error {
	var forbidden *forbiddenError
	var dns *net.DNSError
	code, text, class := CodeUnreachable, "no connection", Transient
	switch {
	case errors.As(err, &forbidden):
		return k.fail(Blocked, CodeForbiddenEndpoint, forbidden.text, nil)
	case k.timedOut(err):
		code, text = CodeTimeout, "no connection in time"
	case errors.As(err, &dns) && dns.IsNotFound:
		code, text = CodeDNS, "the host's name is not known"
	case errors.As(err, &dns):
		code, text = CodeDNS, "the host's name could not be looked up"
	case errors.Is(err, syscall.ECONNREFUSED):
		code, text = CodeRefused, "the connection was refused"
	case k.tlsFailed.Load(), isTLS(err):
		code, text = CodeTLS, "no safe connection"
	case ended(err):
		// A kept connection that the server closed at the same moment, mostly.
		code, text = CodeReset, "the connection ended before the request was sent"
	}
	return k.fail(class, code, text+": "+err.Error(), k.identify(err))
}

// brokenOff names how an exchange ended that had begun.
func (k *call) brokenOff(err error) (code, text string) {
	switch {
	case errors.Is(k.caller.Err(), context.Canceled):
		return CodeCancelled, "cancelled after the request was sent; it may have been done"
	case k.timedOut(err):
		return CodeTimeout, "no complete answer in time; the work may have been done"
	case ended(err):
		return CodeReset, "the connection ended before the answer; the work may have been done"
	case strings.Contains(err.Error(), "malformed"), strings.Contains(err.Error(), "headers exceeded"):
		return CodeBadHTTP, "the answer is not HTTP that can be read: " + err.Error()
	}
	return CodeReset, "the exchange broke off; the work may have been done: " + err.Error()
}

// ended reports whether the other side ended the connection.
func ended(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed) ||
		strings.Contains(err.Error(), "server closed idle connection")
}

// timedOut reports whether time ran out: the caller's, the client's or one of
// the transport's limits.
func (k *call) timedOut(err error) bool {
	var timeout net.Error
	return errors.Is(k.timed.Err(), context.DeadlineExceeded) ||
		errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, &timeout) && timeout.Timeout()
}

// identify adds the caller's own end to the cause, which transports do not
// always name.
func (k *call) identify(err error) error {
	if own := k.caller.Err(); own != nil && !errors.Is(err, own) {
		return errors.Join(own, err)
	}
	return err
}

func isTLS(err error) bool {
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	return errors.As(err, &certificate) || errors.As(err, &record) ||
		strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
}
