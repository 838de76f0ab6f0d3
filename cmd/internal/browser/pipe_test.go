//go:build browser

// Chromium's debugging pipe: JSON messages, each ended by a NUL byte.

package browser

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// object is a JSON object.
type object = map[string]any

// callWithin bounds every call; the longest is one of axe.
const callWithin = 30 * time.Second

// message is what the browser says: an answer to a call, or an event.
type message struct {
	ID        int             `json:"id"`
	SessionID string          `json:"sessionId"`
	Method    string          `json:"method"`
	Params    json.RawMessage `json:"params"`
	Result    json.RawMessage `json:"result"`
	Error     *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// pipe carries calls to a browser, and its answers and events back.
type pipe struct {
	to    io.Writer
	ended chan struct{} // closed when the browser says nothing more

	mu      sync.Mutex
	last    int
	answers map[int]chan message
	events  map[string]func(message) // by session
}

func newPipe(to io.Writer, from io.Reader) *pipe {
	p := &pipe{to: to, ended: make(chan struct{}), answers: map[int]chan message{}, events: map[string]func(message){}}
	go p.read(from) // ends with the browser, which its owner waits for
	return p
}

func (p *pipe) read(from io.Reader) {
	defer close(p.ended)
	r := bufio.NewReaderSize(from, 1<<20)
	for {
		text, err := r.ReadBytes(0)
		if err != nil {
			return
		}
		var m message
		if json.Unmarshal(bytes.TrimSuffix(text, []byte{0}), &m) != nil {
			return
		}
		p.mu.Lock()
		answer, event := p.answers[m.ID], p.events[m.SessionID]
		delete(p.answers, m.ID)
		p.mu.Unlock()
		switch {
		case m.ID != 0 && answer != nil:
			answer <- m
		case m.Method != "" && event != nil:
			event(m)
		}
	}
}

// listen passes a session's events on, one after the other. The function must not call.
func (p *pipe) listen(session string, f func(message)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events[session] = f
}

// call calls a method of a session ("" is the browser's own) and reads its result into result.
func (p *pipe) call(session, method string, params, result any) error {
	answer := make(chan message, 1)
	p.mu.Lock()
	p.last++
	id := p.last
	p.answers[id] = answer
	asked := object{"id": id, "method": method}
	if params != nil {
		asked["params"] = params
	}
	if session != "" {
		asked["sessionId"] = session
	}
	text, err := json.Marshal(asked)
	if err == nil {
		_, err = p.to.Write(append(text, 0))
	}
	p.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	m, err := p.await(answer)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", method, err)
	case m.Error != nil:
		return fmt.Errorf("%s: %s", method, m.Error.Message)
	case result != nil:
		return json.Unmarshal(m.Result, result)
	}
	return nil
}

func (p *pipe) await(answer chan message) (message, error) {
	deadline := time.NewTimer(callWithin)
	defer deadline.Stop()
	select {
	case m := <-answer:
		return m, nil
	case <-p.ended:
		return message{}, errors.New("the browser has ended")
	case <-deadline.C:
		return message{}, fmt.Errorf("no answer within %v", callWithin)
	}
}
