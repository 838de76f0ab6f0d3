// One HTTP request: read, looked at in the order of a portal's front, answered.

package sandbox

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// forwardedProto carries the scheme that a request was meant to have, as from
// a balancer that ends TLS before the portal.
const forwardedProto = "X-Forwarded-Proto"

// exchange is one HTTP request in work.
type exchange struct {
	box    *Sandbox
	st     *PortalState
	w      http.ResponseWriter
	r      *http.Request
	method string
	params *array
	signIn signIn
	fault  *Fault
	log    RequestLog
}

// reply is an answer before it is written.
type reply struct {
	status   int
	kind     string // Content-Type
	location string
	body     []byte
	code     string // of an error
	from     string // credential
}

const (
	kindJSON = "application/json; charset=utf-8"
	kindHTML = "text/html"
)

// ServeHTTP answers as the portal that the request's Host names. It serves all
// of the sandbox's listeners, and tests that need no socket.
func (s *Sandbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.begin() {
		panic(http.ErrAbortHandler)
	}
	defer s.end()
	body, err := readBody(r)
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			page(http.StatusRequestEntityTooLarge).write(w)
			return
		}
		panic(http.ErrAbortHandler) // the client broke off
	}
	st, err := s.find(r.Host)
	if err != nil {
		s.serveElsewhere(w, r, body)
		return
	}
	x := &exchange{box: s, st: st, w: w, r: r}
	ok := x.parse(body)
	s.strays(place{host: r.Host, st: st}, x.methodLabel(), r, body)
	if !ok {
		page(http.StatusNotFound).write(w)
		return
	}
	x.serve()
}

// serveElsewhere answers where no portal does: as the authorization server, or
// as a web server that knows nothing.
func (s *Sandbox) serveElsewhere(w http.ResponseWriter, r *http.Request, body []byte) {
	if s.auth.answersTo(r.Host) {
		s.strays(place{host: r.Host, auth: true}, authMethod, r, body)
		s.auth.serve(w, r, body)
		return
	}
	s.strays(place{host: r.Host}, "unknown", r, body)
	page(http.StatusNotFound).write(w)
}

// methodLabel is the method as logs have it.
func (x *exchange) methodLabel() string {
	if _, known := lookupMethod(x.method); known {
		return x.method
	}
	return "unknown"
}

// serve answers, through whatever fault strikes.
func (x *exchange) serve() {
	x.enter()
	defer x.leave()
	if !x.box.sleep(x.st.cfg.Latency) {
		panic(http.ErrAbortHandler)
	}
	if x.fault != nil && x.fault.When == Before {
		x.strike(nil)
		return
	}
	rep := x.front()
	if rep == nil {
		if x.fault != nil && x.fault.When == During {
			x.box.spawn(func() { x.work() })
			x.strike(nil)
			return
		}
		rep = x.workWithin(x.st.cfg.ServerTimeout)
	}
	x.log.Code, x.log.Credential = rep.code, rep.from
	if x.fault != nil {
		x.strike(rep)
		return
	}
	x.log.Status = rep.status
	rep.write(x.w)
}

// front is what stands before the methods: renames, TLS, the request rate. It
// returns nil when the request may go on.
func (x *exchange) front() *reply {
	st := x.st
	secure := x.r.TLS != nil || x.r.Header.Get(forwardedProto) == "https"
	if name := st.Name(); name != foldHost(x.r.Host) {
		scheme := "http"
		if secure {
			scheme = "https"
		}
		rep := page(http.StatusFound)
		rep.location = scheme + "://" + name + x.r.URL.RequestURI()
		return rep
	}
	if st.cfg.RequireTLS && !secure {
		return st.refuse("INVALID_REQUEST", x.method)
	}
	if !st.admit(x.r.RemoteAddr, x.method) {
		return st.refuse("QUERY_LIMIT_EXCEEDED", x.method)
	}
	return nil
}

// refuse is an error of the front, before any call.
func (st *PortalState) refuse(code, method string) *reply {
	f := st.cfg.Dialect.fail(code)
	st.count(method, code)
	return f.reply()
}

// admit puts the request into its source's bucket.
func (st *PortalState) admit(remote, method string) bool {
	if st.cfg.Rate <= 0 || st.cfg.Burst <= 0 {
		return true
	}
	remote = sourceOf(remote)
	st.mu.Lock()
	defer st.mu.Unlock()
	now := st.box.now()
	level, ok := st.sources.add(remote, now, st.cfg.Rate, st.cfg.Burst)
	st.seen.stats.MaxLevel = max(st.seen.stats.MaxLevel, level)
	if !ok {
		st.seen.violate(Violation{At: now, Kind: OverRate, Method: method})
	}
	return ok
}

// sourceOf is the address without its port.
func sourceOf(remote string) string {
	if i := strings.LastIndexByte(remote, ':'); i >= 0 {
		return remote[:i]
	}
	return remote
}

// workWithin does the work; a request that takes too long is cut off with a 504
// while its work goes on.
func (x *exchange) workWithin(limit time.Duration) *reply {
	if limit <= 0 || !x.st.waits() {
		return x.work()
	}
	done := make(chan *reply, 1)
	x.box.spawn(func() { done <- x.work() })
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case rep := <-done:
		return rep
	case <-timer.C:
		return page(http.StatusGatewayTimeout)
	}
}

// work runs the request's call.
func (x *exchange) work() *reply {
	c := &call{st: x.st, method: x.method, params: x.params, signIn: x.signIn}
	if x.st.cfg.Dialect == Published {
		c.tally = tally{}
	}
	if x.method == "batch" {
		c.batch = &batchRun{}
		if x.fault != nil && x.fault.Kind == DieMidway {
			c.batch.dies = x.fault
			c.batch.share = chance(x.box.opts.seed, x.st.cfg.Name, x.log.Seq, -1)
		}
	}
	o := c.run()
	rep := o.reply()
	rep.from = c.id.name
	return rep
}

func (o outcome) reply() *reply {
	if o.fail != nil {
		return o.fail.reply()
	}
	return &reply{status: http.StatusOK, kind: kindJSON, body: appendSuccess(make([]byte, 0, 384), o.result, o.span)}
}

func (f *failure) reply() *reply {
	return &reply{status: f.status, kind: kindJSON, code: f.code, body: appendError(nil, f)}
}

// page is one of nginx's own pages.
func page(status int) *reply {
	text := fmt.Sprintf("%d %s", status, http.StatusText(status))
	body := "<html>\r\n<head><title>" + text + "</title></head>\r\n<body>\r\n<center><h1>" + text +
		"</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
	return &reply{status: status, kind: kindHTML, body: []byte(body)}
}

func (rep *reply) write(w http.ResponseWriter) {
	rep.header(w, len(rep.body))
	_, _ = w.Write(rep.body) // a client that has left hears nothing
}

// header writes status and headers, for a body of the given length.
func (rep *reply) header(w http.ResponseWriter, length int) {
	h := w.Header()
	h.Set("Server", "nginx")
	h.Set("Content-Type", rep.kind)
	h.Set("Content-Length", strconv.Itoa(length))
	if rep.location != "" {
		h.Set("Location", rep.location)
	}
	w.WriteHeader(rep.status)
}

// enter counts the request in and decides its fault.
func (x *exchange) enter() {
	st := x.st
	x.log = RequestLog{At: x.box.now(), Method: x.methodLabel(), UserAgent: clip(x.r.UserAgent())}
	if x.method == "batch" {
		x.log.Commands = x.params.upperKeys().child("CMD").len()
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	x.log.Seq = st.requests
	st.requests++
	x.fault = st.disturbance(x.method, x.log.Seq)
	stats := &st.seen.stats
	stats.Requests++
	st.seen.inWork++
	stats.MaxConcurrent = max(stats.MaxConcurrent, st.seen.inWork)
	if x.method == "batch" {
		stats.Batches++
	}
	if x.fault != nil {
		x.log.Fault = x.fault.Kind
	}
}

// leave counts it out and logs it.
func (x *exchange) leave() {
	st := x.st
	x.log.Duration = x.box.now().Sub(x.log.At)
	st.mu.Lock()
	defer st.mu.Unlock()
	st.seen.inWork--
	if x.log.Status != 0 {
		st.seen.stats.Statuses[x.log.Status]++
	}
	st.seen.log.add(x.log)
}

// clip bounds what a log keeps of a text from outside.
func clip(s string) string { return s[:min(maxLogged, len(s))] }

const maxLogged = 120
