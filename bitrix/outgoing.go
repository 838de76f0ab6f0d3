// A request's body that knows whether any of it has left, and that does not
// leave too late.

package bitrix

import (
	"bytes"
	"errors"
	"io"
	"sync"
)

// errSealed is what a transport gets that reads the body after its call has ended.
var errSealed = errors.New("the call is over")

// outgoing hands a request's body to the transport.
//
// A REST call is its body: a server that gets headers without the body that
// they promise runs nothing. So a call was sent when the first byte of the
// body was taken. The clock is looked at before every piece of the body, and,
// on the client's own HTTP/1 connections, before every write, so that not even
// the headers leave too late; see [gatedConn].
//
// A request without a body is sent with its headers. An empty payload counts as
// taken when it is first looked at, which net/http does before it writes
// anything.
type outgoing struct {
	payload []byte
	// stop says why nothing may be written any more, or nil.
	stop func() error

	mu      sync.Mutex
	sent    bool  // bytes were taken, or an empty payload was looked at
	sealed  bool  // the call has failed; no more bytes
	over    bool  // the call was answered; no more checks
	refused error // stop's answer, once it was not nil
}

// check says why nothing more may leave, or nil.
func (o *outgoing) check() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.checkLocked()
}

func (o *outgoing) checkLocked() error {
	switch {
	case o.sealed:
		return errSealed
	case o.over:
		return nil
	}
	err := o.stop()
	if err != nil {
		o.refused = err
	}
	return err
}

// answered ends the checks: the connection may go on to serve others.
func (o *outgoing) answered() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.over = true
}

// open gives a reader of the whole body. The transport opens another one to
// start anew on another connection, which for a POST it does only when the
// server has certainly not processed the first try.
func (o *outgoing) open() io.ReadCloser {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.sealed {
		o.sent = false
	}
	return io.NopCloser(&outgoingReader{o: o, rest: bytes.NewReader(o.payload)})
}

// seal ends the call. From then on nothing leaves, so that "not sent" stays
// true even when the transport is still busy in the background. It reports
// whether anything has left, and why it was refused if it was.
func (o *outgoing) seal() (sent bool, refused error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sealed = true
	return o.sent, o.refused
}

type outgoingReader struct {
	o    *outgoing
	rest *bytes.Reader
}

func (r *outgoingReader) Read(p []byte) (int, error) {
	r.o.mu.Lock()
	defer r.o.mu.Unlock()
	empty := len(r.o.payload) == 0
	if empty || r.rest.Len() > 0 {
		if err := r.o.checkLocked(); err != nil {
			return 0, err
		}
	}
	n, err := r.rest.Read(p)
	r.o.sent = r.o.sent || empty || n > 0
	return n, err
}
