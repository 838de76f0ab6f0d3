// Portals that answer at once: the least that a REST server can do.

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// portalTime is the part of an answer that says what the call cost.
const portalTime = `"time":{"start":1790000000,"finish":1790000000.02,"duration":0.02,"processing":0,` +
	`"date_start":"2026-09-21T14:13:20+00:00","date_finish":"2026-09-21T14:13:20+00:00",` +
	`"operating_reset_at":1790000600,"operating":0.12}`

// firstBotID is below the first BOT_ID given.
const firstBotID = 1000

// answering are portals, each on a port of its own, that register every bot.
// They are also a transport which answers without any connection.
type answering struct {
	server   http.Server
	serving  sync.WaitGroup
	webhooks []string

	bots     atomic.Int64
	requests atomic.Int64
}

// startPortals starts n portals. close ends them.
func startPortals(n int) (*answering, error) {
	a := &answering{}
	a.server = http.Server{Handler: a, ReadHeaderTimeout: time.Minute}
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			a.close()
			return nil, fmt.Errorf("start a portal: %w", err)
		}
		a.webhooks = append(a.webhooks, "http://"+l.Addr().String()+"/rest/1/benchbenchbench1/")
		a.serving.Go(func() { _ = a.server.Serve(l) }) // ends with close
	}
	return a, nil
}

func (a *answering) close() {
	_ = a.server.Close()
	a.serving.Wait()
}

// reset begins a round.
func (a *answering) reset() {
	a.bots.Store(0)
	a.requests.Store(0)
}

// ServeHTTP answers one request over HTTP.
func (a *answering) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client has left
	}
	answer, status := a.answer(r.URL.Path, body)
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
	w.WriteHeader(status)
	_, _ = w.Write(answer)
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
