// The install handler: what strangers can reach. It reads, keeps and answers,
// always with one of a few fixed texts.

package onboard

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"
)

const (
	// maxBody is the longest body in bytes; a portal's form has under 2 KB.
	maxBody = 64 << 10
	// maxReading is how many bodies are read at once: 16 MB at the most.
	maxReading = 256
	// readWithin is how long a body may take to come: a portal sends it with the header.
	readWithin = 2 * time.Second
	// retryAfter is what a 503 asks for, in seconds.
	retryAfter = 30
)

// The answers. That an event was kept, that it was kept before and that it is of
// a kind that nobody asked for are one and the same.
const (
	textOK        = "ok\n"
	textMalformed = "this is not an event of a portal\n"
	textLater     = "not now; try again later\n"
	textPostOnly  = "POST only\n"
)

// Handler answers at every path: 200 to an event once it is kept, or when it is
// of a kind that is not worked on; 503 with Retry-After when it could not be kept
// within [Config.KeepWithin] (2 s at the most) or there is too much to do; 400 to
// what is no event; 405 to what is no POST. It reads at most 64 KB, for at most
// 2 s; bounds on the header are its server's. It needs Start only to know that the
// queue is full.
func (s *Service) Handler() http.Handler { return http.HandlerFunc(s.serve) }

func (s *Service) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		s.meter.Event(OtherEvent, OutcomeMalformed)
		answer(w, http.StatusMethodNotAllowed, textPostOnly)
		return
	}
	e, err := s.read(w, r)
	switch {
	case errors.Is(err, errBusy):
		s.meter.Event(OtherEvent, OutcomeBusy)
		answer(w, http.StatusServiceUnavailable, textLater)
		return
	case err != nil:
		s.meter.Event(OtherEvent, OutcomeMalformed)
		s.log.Debug("a request to the install handler was no event", "problem", err)
		answer(w, http.StatusBadRequest, textMalformed)
		return
	case !e.known():
		s.meter.Event(OtherEvent, OutcomeIgnored)
		answer(w, http.StatusOK, textOK)
		return
	}
	outcome, err := s.keep(e) //nolint:contextcheck // an event is kept even when its sender has left
	s.meter.Event(e.label(), outcome)
	if err != nil {
		s.log.Warn("an event could not be kept; the portal was asked to send it again",
			"event", e.label(), "host", e.domain, "member_id", e.member, "err", err)
	}
	if outcome != OutcomeKept {
		answer(w, http.StatusServiceUnavailable, textLater)
		return
	}
	answer(w, http.StatusOK, textOK)
}

// read reads a request's event. Its errors are errBusy and fixed texts.
func (s *Service) read(w http.ResponseWriter, r *http.Request) (event, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return event{}, errors.New("the Content-Type is not application/x-www-form-urlencoded")
	}
	if r.ContentLength > maxBody {
		return event{}, errTooLong
	}
	select {
	case s.reading <- struct{}{}:
		defer func() { <-s.reading }()
	default:
		return event{}, errBusy
	}
	// Where the server cannot bound a body's time, its own ReadTimeout must do.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.readWithin))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, tooLong := errors.AsType[*http.MaxBytesError](err); tooLong {
		return event{}, errTooLong
	}
	if err != nil {
		return event{}, errors.New("the body did not come whole, or not in time")
	}
	return parseForm(string(body))
}

var (
	errBusy    = errors.New("too much is being done at once")
	errTooLong = errors.New("the body is longer than 64 KB")
)

// answer writes one of the fixed answers.
func answer(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	if status == http.StatusServiceUnavailable {
		h.Set("Retry-After", strconv.Itoa(retryAfter))
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text) // a client that has left hears nothing
}
