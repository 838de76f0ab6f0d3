// How faults look on the wire.

package sandbox

import (
	"bytes"
	"net"
	"net/http"
	"time"
)

// hugeBody is how much a Huge answers with.
const hugeBody = 8 << 20

// strike lets the request's fault happen to its answer. rep is nil when there
// is none, because the fault strikes before or during the work.
func (x *exchange) strike(rep *reply) {
	f := x.fault
	if f.Kind != Slow && !x.pause(f.Delay) {
		panic(http.ErrAbortHandler)
	}
	if rep == nil {
		rep = outcome{result: 39, span: span{start: x.log.At, finish: x.box.now()}}.reply()
	}
	status := func(otherwise int) int {
		if f.Status != 0 {
			return f.Status
		}
		return otherwise
	}
	x.log.Status = rep.status
	switch f.Kind {
	case HTML:
		rep = page(status(http.StatusBadGateway))
	case Empty:
		rep = &reply{status: status(http.StatusOK), kind: kindHTML}
	case Truncate:
		rep.body = rep.body[:len(rep.body)/2]
	case Huge:
		rep.body = huge(rep.body)
	case Slow:
		x.drip(rep)
		return
	case Stall, Cut:
		x.half(rep)
		return
	default: // Reset, Silence, DieMidway
		if f.Kind == DieMidway && f.Status != 0 {
			rep = page(f.Status)
			break
		}
		x.log.Status = 0
		x.lose()
	}
	x.log.Status = rep.status
	rep.write(x.w)
}

// lose ends the request without an answer.
func (x *exchange) lose() {
	if x.fault.Kind == Silence {
		x.hang()
	}
	x.reset()
}

// reset makes the connection's end a TCP reset in place of an orderly close.
func (x *exchange) reset() {
	if conn, ok := x.r.Context().Value(connKey{}).(*net.TCPConn); ok {
		_ = conn.SetLinger(0) // the connection ends in any case
	}
	panic(http.ErrAbortHandler)
}

// half sends half a body as promised whole, then nothing or the end.
func (x *exchange) half(rep *reply) {
	rep.header(x.w, len(rep.body))
	_, _ = x.w.Write(rep.body[:len(rep.body)/2])
	flush(x.w)
	if x.fault.Kind == Stall {
		x.hang()
	}
	panic(http.ErrAbortHandler)
}

// drip sends a body byte by byte over the fault's delay.
func (x *exchange) drip(rep *reply) {
	rep.header(x.w, len(rep.body))
	flush(x.w)
	each := x.fault.Delay / time.Duration(max(1, len(rep.body)))
	for i := range rep.body {
		if !x.pause(each) {
			panic(http.ErrAbortHandler)
		}
		_, _ = x.w.Write(rep.body[i : i+1])
		flush(x.w)
	}
}

// hang waits until the client leaves or the sandbox closes.
func (x *exchange) hang() {
	select {
	case <-x.r.Context().Done():
	case <-x.box.closing:
	}
}

// pause waits on behalf of the client only: it ends when the client leaves.
func (x *exchange) pause(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-x.r.Context().Done():
	case <-x.box.closing:
	}
	return false
}

// huge pads a JSON object with blanks before its end.
func huge(body []byte) []byte {
	end := bytes.LastIndexByte(body, '}')
	out := make([]byte, 0, hugeBody+len(body))
	out = append(out, body[:end]...)
	out = append(out, bytes.Repeat([]byte(" "), hugeBody)...)
	return append(out, body[end:]...)
}

func flush(w http.ResponseWriter) {
	// A writer that cannot flush delivers later, a client that has left never.
	_ = http.NewResponseController(w).Flush()
}
