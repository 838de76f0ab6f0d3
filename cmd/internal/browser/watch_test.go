//go:build browser

// What goes on in a tab unseen: requests, errors, and what the answers hold.

package browser

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

// tellViolations makes breaches of the page's Content-Security-Policy errors.
const tellViolations = `document.addEventListener("securitypolicyviolation", (e) =>
	console.error("Content-Security-Policy: " + e.violatedDirective + " " + e.blockedURI + " " + e.sample));`

// watch notes what a tab's events tell.
type watch struct {
	tab *tab

	mu       sync.Mutex
	loaded   int
	requests []string          // addresses
	order    []string          // ids of requests
	urls     map[string]string // of requests
	statuses map[string]int    // of requests
	trouble  []string          // errors and warnings of the console
	bodies   []string          // of all answers
	asked    int               // how often a user and password were asked for
	pending  int               // calls that follow from events, on their way
}

func newWatch(b *tab) *watch {
	w := &watch{tab: b, statuses: map[string]int{}, urls: map[string]string{}}
	shared.listen(b.session, w.event)
	b.t.Cleanup(func() {
		shared.listen(b.session, nil)
		w.settle(b.t)
	})
	return w
}

// follow calls what an event asks for, as an event itself must not. w.mu is held.
func (w *watch) follow(f func()) {
	w.pending++
	go func() { // settle waits for it
		f()
		w.mu.Lock()
		defer w.mu.Unlock()
		w.pending--
	}()
}

// settle waits until no such call is on its way.
func (w *watch) settle(t *testing.T) {
	t.Helper()
	await(t, callWithin, "the tab's answers to be read", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.pending == 0
	})
}

// told is what is of interest in the events' parameters.
type told struct {
	RequestID string `json:"requestId"`
	Type      string `json:"type"`
	Request   struct {
		URL string `json:"url"`
	} `json:"request"`
	Response struct {
		URL    string `json:"url"`
		Status int    `json:"status"`
	} `json:"response"`
	StatusCode int `json:"statusCode"`
	Args       []struct {
		Value       any    `json:"value"`
		Description string `json:"description"`
	} `json:"args"`
	Entry struct {
		Level string `json:"level"`
		Text  string `json:"text"`
		URL   string `json:"url"`
	} `json:"entry"`
	ExceptionDetails struct {
		Text      string `json:"text"`
		Exception struct {
			Description string `json:"description"`
		} `json:"exception"`
	} `json:"exceptionDetails"`
}

func (w *watch) event(m message) {
	var p told
	_ = json.Unmarshal(m.Params, &p) // events of other shapes are of no interest
	w.mu.Lock()
	defer w.mu.Unlock()
	switch m.Method {
	case "Page.loadEventFired":
		w.loaded++
	case "Network.requestWillBeSent":
		w.requests = append(w.requests, p.Request.URL)
		w.urls[p.RequestID] = p.Request.URL
		w.order = append(w.order, p.RequestID)
	case "Network.responseReceived":
		w.statuses[p.RequestID] = p.Response.Status
	case "Network.responseReceivedExtraInfo": // also of what the page is not let see; it may come first
		w.statuses[p.RequestID] = p.StatusCode
	case "Network.loadingFinished":
		w.follow(func() { w.fetch(p.RequestID) })
	case "Runtime.consoleAPICalled":
		if p.Type == "error" || p.Type == "warning" || p.Type == "assert" {
			w.trouble = append(w.trouble, fmt.Sprintf("%s: %v", p.Type, p.Args))
		}
	case "Runtime.exceptionThrown":
		w.trouble = append(w.trouble, p.ExceptionDetails.Text+" "+p.ExceptionDetails.Exception.Description)
	case "Log.entryAdded":
		if p.Entry.Level == "error" || p.Entry.Level == "warning" {
			w.trouble = append(w.trouble, p.Entry.Text+" "+p.Entry.URL)
		}
	case "Fetch.requestPaused":
		w.follow(func() {
			_ = shared.call(w.tab.session, "Fetch.continueRequest", object{"requestId": p.RequestID}, nil)
		})
	case "Fetch.authRequired":
		w.asked++
		w.follow(func() { w.signIn(p.RequestID) })
	}
}

// fetch keeps an answer's body. One whose page has been left is gone.
func (w *watch) fetch(request string) {
	var got struct {
		Body          string `json:"body"`
		Base64Encoded bool   `json:"base64Encoded"`
	}
	if shared.call(w.tab.session, "Network.getResponseBody", object{"requestId": request}, &got) != nil {
		return
	}
	body := got.Body
	if b, err := base64.StdEncoding.DecodeString(body); got.Base64Encoded && err == nil {
		body = string(b)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bodies = append(w.bodies, w.urls[request]+"\n"+body)
}

func (w *watch) signIn(request string) {
	answer := object{"response": "ProvideCredentials", "username": w.tab.look.User, "password": w.tab.look.Password}
	if w.tab.look.Stranger {
		answer = object{"response": "CancelAuth"}
	}
	_ = shared.call(w.tab.session, "Fetch.continueWithAuth", object{"requestId": request, "authChallengeResponse": answer}, nil)
}

// asks is how often a user and password were asked for.
func (w *watch) asks() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked
}

func (w *watch) loads() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.loaded
}

// times is how often an address was asked for.
func (w *watch) times(address string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, url := range w.requests {
		if url == address {
			n++
		}
	}
	return n
}

// status is that of the last answered request to an address; 0 before the first.
func (w *watch) status(url string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range slices.Backward(w.order) {
		if w.urls[id] == url && w.statuses[id] != 0 {
			return w.statuses[id]
		}
	}
	return 0
}

// forget forgets all requests. A status comes in two events: what is told later of one
// that was forgotten counts for none.
func (w *watch) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.order = nil
	clear(w.statuses)
}

// forgive takes the errors that have a part from those noted: they were meant.
func (w *watch) forgive(part string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var left []string
	for _, s := range w.trouble {
		if !strings.Contains(s, part) {
			left = append(left, s)
		}
	}
	w.trouble = left
}

// quiet wants no error, no warning, and nothing from another origin.
func (w *watch) quiet(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.trouble {
		t.Errorf("the console says: %s", s)
	}
	for _, url := range w.requests {
		if !strings.HasPrefix(url, w.tab.base+"/") && !strings.HasPrefix(url, "data:") {
			t.Errorf("a request went to %s", url)
		}
	}
}

// keepsSecrets wants none of the secrets in any answer so far, nor in the page.
func (w *watch) keepsSecrets(t *testing.T, secrets ...string) {
	t.Helper()
	w.settle(t)
	var page string
	w.tab.eval("document.documentElement.outerHTML", &page)
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.bodies) == 0 {
		t.Error("no answer was looked at")
	}
	for _, text := range append(w.bodies, page) {
		for _, s := range secrets {
			if strings.Contains(text, s) {
				url, _, _ := strings.Cut(text, "\n")
				t.Errorf("a secret is in an answer: %s", url)
			}
		}
	}
}

// A status is told twice; what comes after a request was forgotten is not the next one's.
func TestAForgottenAnswerDoesNotCount(t *testing.T) {
	t.Parallel()
	w := &watch{statuses: map[string]int{}, urls: map[string]string{}}
	const url = "http://127.0.0.1:1/"
	tell := func(method, params string) {
		w.event(message{Method: method, Params: json.RawMessage(params)})
	}
	tell("Network.requestWillBeSent", `{"requestId":"1","request":{"url":"`+url+`"}}`)
	tell("Network.responseReceivedExtraInfo", `{"requestId":"1","statusCode":403}`)
	if got := w.status(url); got != 403 {
		t.Errorf("its status is %d", got)
	}
	w.forget()
	tell("Network.responseReceived", `{"requestId":"1","response":{"status":403}}`)
	if got := w.status(url); got != 0 {
		t.Errorf("what was forgotten has the status %d", got)
	}
	tell("Network.requestWillBeSent", `{"requestId":"2","request":{"url":"`+url+`"}}`)
	tell("Network.responseReceived", `{"requestId":"2","response":{"status":200}}`)
	if got := w.status(url); got != 200 {
		t.Errorf("the next one's status is %d", got)
	}
}
