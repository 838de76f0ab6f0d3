// Portals that answer at once: the least that a REST server can do.

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// portalTime is the part of an answer that says what the call cost.
const portalTime = `"time":{"start":1790000000,"finish":1790000000.02,"duration":0.02,"processing":0,` +
	`"date_start":"2026-09-21T14:13:20+00:00","date_finish":"2026-09-21T14:13:20+00:00",` +
	`"operating_reset_at":1790000600,"operating":0.12}`

// firstBotID is below the first BOT_ID given.
const firstBotID = 1000

// answering are portals, each on a port of its own, that register every bot.
// They are also a transport which answers without any connection.
//
// They speak as much HTTP as it takes: what is measured is the client, and a
// full server beside it would use up the same processors.
type answering struct {
	listeners []net.Listener
	serving   sync.WaitGroup
	webhooks  []string

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]bool

	bots     atomic.Int64
	requests atomic.Int64
}

// startPortals starts n portals. close ends them.
func startPortals(n int) (*answering, error) {
	a := &answering{conns: map[net.Conn]bool{}}
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			a.close()
			return nil, fmt.Errorf("start a portal: %w", err)
		}
		a.listeners = append(a.listeners, l)
		a.webhooks = append(a.webhooks, "http://"+l.Addr().String()+"/rest/1/benchbenchbench1/")
		a.serving.Go(func() { a.accept(l) })
	}
	return a, nil
}

func (a *answering) close() {
	a.mu.Lock()
	a.closed = true
	for _, l := range a.listeners {
		_ = l.Close()
	}
	for c := range a.conns {
		_ = c.Close()
	}
	a.mu.Unlock()
	a.serving.Wait()
}

// reset begins a round.
func (a *answering) reset() {
	a.bots.Store(0)
	a.requests.Store(0)
}

// accept serves a portal's connections until it is closed.
func (a *answering) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		a.mu.Lock()
		if a.closed {
			_ = c.Close()
		} else {
			a.conns[c] = true
			a.serving.Go(func() { a.serve(c) })
		}
		a.mu.Unlock()
	}
}

// serve answers the requests of one connection until it ends.
func (a *answering) serve(c net.Conn) {
	defer func() {
		_ = c.Close()
		a.mu.Lock()
		delete(a.conns, c)
		a.mu.Unlock()
	}()
	in := bufio.NewReader(c)
	var body, out []byte
	for {
		path, length, err := readHead(in)
		if err != nil {
			return
		}
		body = slices.Grow(body[:0], length)[:length]
		if _, err := io.ReadFull(in, body); err != nil {
			return
		}
		answer, status := a.answer(path, body)
		out = fmt.Appendf(out[:0], "HTTP/1.1 %d %s\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\n\r\n",
			status, http.StatusText(status), len(answer))
		if _, err := c.Write(append(out, answer...)); err != nil {
			return
		}
	}
}

// readHead reads a request up to its body.
func readHead(in *bufio.Reader) (path string, length int, err error) {
	for first := true; ; first = false {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return "", 0, err
		}
		line = bytes.TrimRight(line, "\r\n")
		switch name, value, _ := bytes.Cut(line, []byte(": ")); {
		case first:
			_, rest, _ := bytes.Cut(line, []byte(" "))
			target, _, _ := bytes.Cut(rest, []byte(" "))
			path = string(target)
		case len(line) == 0:
			return path, length, nil
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil || length < 0 || length > 2<<20 {
				return "", 0, errors.New("a length that no request has")
			}
		}
	}
}

// RoundTrip answers one request without HTTP.
func (a *answering) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	answer, status := a.answer(r.URL.Path, body)
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{},
		Body: io.NopCloser(bytes.NewReader(answer)), ContentLength: int64(len(answer)), Request: r,
	}, nil
}

// answer registers the bot, or each bot of a batch.
func (a *answering) answer(path string, body []byte) (answer []byte, status int) {
	a.requests.Add(1)
	switch method := path[strings.LastIndexByte(path, '/')+1:]; method {
	case "imbot.register":
		answer = append(answer, `{"result":`...)
		answer = strconv.AppendInt(answer, firstBotID+a.bots.Add(1), 10)
		return append(answer, ","+portalTime+"}"...), http.StatusOK
	case "batch":
		return a.batch(body)
	default:
		return []byte(`{"error":"ERROR_METHOD_NOT_FOUND","error_description":"Method not found!"}`), http.StatusNotFound
	}
}

func (a *answering) batch(body []byte) (answer []byte, status int) {
	var params struct{ Cmd map[string]json.RawMessage }
	if err := json.Unmarshal(body, &params); err != nil {
		return []byte(`{"error":"BENCH","error_description":"a batch that cannot be read"}`), http.StatusBadRequest
	}
	results, times := []byte{'{'}, []byte{'{'}
	for key := range params.Cmd {
		if len(results) > 1 {
			results, times = append(results, ','), append(times, ',')
		}
		results = append(strconv.AppendQuote(results, key), ':')
		results = strconv.AppendInt(results, firstBotID+a.bots.Add(1), 10)
		times = append(strconv.AppendQuote(times, key), ':')
		times = append(times, portalTime[len(`"time":`):]...)
	}
	answer = append(answer, `{"result":{"result":`...)
	answer = append(append(answer, results...), `},"result_error":[],"result_total":[],"result_next":[],"result_time":`...)
	return append(append(answer, times...), "}},"+portalTime+"}"...), http.StatusOK
}
