//go:build browser

// A tab: what a person does in it.

package browser

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// shownWithin bounds what is waited for in a tab: the slowest of it takes 5 s, and the
// machine may be busy.
const shownWithin = 45 * time.Second

// look is how a tab is looked at. Its zero value is a light desktop with scripts.
type look struct {
	Width, Height int
	Dark          bool
	NoScripts     bool
	// User and Password are given to a site that asks for them; a Stranger has none.
	User, Password string
	Stranger       bool
}

// tab is a page that is open.
type tab struct {
	t       *testing.T
	id      string // of its target
	profile string
	session string
	seen    *watch
	look    look
	base    string // where it may load from
}

// open opens an empty tab in a profile of its own. base is the only origin that it
// is expected to load from.
func open(t *testing.T, base string, l look) *tab {
	t.Helper()
	var made struct {
		BrowserContextID string `json:"browserContextId"`
	}
	if err := shared.call("", "Target.createBrowserContext", object{"disposeOnDetach": true}, &made); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = shared.call("", "Target.disposeBrowserContext", object{"browserContextId": made.BrowserContextID}, nil)
	})
	return beside(t, made.BrowserContextID, base, l)
}

// beside opens another tab of a profile, in front of the others.
func beside(t *testing.T, profile, base string, l look) *tab {
	t.Helper()
	if l.Width == 0 {
		l.Width, l.Height = 1280, 900
	}
	b := &tab{t: t, profile: profile, look: l, base: base}
	var target struct {
		TargetID string `json:"targetId"`
	}
	b.must(shared.call("", "Target.createTarget", object{"url": "about:blank", "browserContextId": profile}, &target))
	b.id = target.TargetID
	var attached struct {
		SessionID string `json:"sessionId"`
	}
	b.must(shared.call("", "Target.attachToTarget", object{"targetId": b.id, "flatten": true}, &attached))
	b.session = attached.SessionID
	b.seen = newWatch(b)
	b.t.Cleanup(b.onFailure)
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		b.call(domain+".enable", nil, nil)
	}
	b.call("Page.addScriptToEvaluateOnNewDocument", object{"source": tellViolations}, nil)
	b.call("Emulation.setDeviceMetricsOverride", object{"width": l.Width, "height": l.Height, "deviceScaleFactor": 1, "mobile": l.Width < 700}, nil)
	scheme := "light"
	if l.Dark {
		scheme = "dark"
	}
	b.call("Emulation.setEmulatedMedia", object{"features": []object{
		{"name": "prefers-color-scheme", "value": scheme}, {"name": "prefers-reduced-motion", "value": "reduce"},
	}}, nil)
	if l.NoScripts {
		b.call("Emulation.setScriptExecutionDisabled", object{"value": true}, nil)
	}
	if l.User != "" || l.Stranger {
		b.call("Fetch.enable", object{"handleAuthRequests": true}, nil)
	}
	return b
}

func (b *tab) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *tab) call(method string, params, result any) {
	b.t.Helper()
	b.must(shared.call(b.session, method, params, result))
}

// visit opens an address of the worker's, and waits until it is loaded.
func (b *tab) visit(path string) {
	b.t.Helper()
	loaded := b.seen.loads()
	var done struct {
		ErrorText string `json:"errorText"`
	}
	b.call("Page.navigate", object{"url": b.base + path}, &done)
	if done.ErrorText != "" {
		b.t.Fatalf("open %s: %s", path, done.ErrorText)
	}
	await(b.t, shownWithin, path+" to load", func() bool { return b.seen.loads() > loaded })
}

// eval runs an expression in the page and reads its value. A promise is waited for.
func (b *tab) eval(expression string, value any) {
	b.t.Helper()
	b.must(b.try(expression, value))
}

func (b *tab) try(expression string, value any) error {
	var got struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		Exception *struct {
			Text      string `json:"text"`
			Exception struct {
				Description string `json:"description"`
			} `json:"exception"`
		} `json:"exceptionDetails"`
	}
	err := shared.call(b.session, "Runtime.evaluate", object{"expression": expression, "awaitPromise": true, "returnByValue": true}, &got)
	switch {
	case err != nil:
		return err
	case got.Exception != nil:
		return fmt.Errorf("%s: %s %s", expression, got.Exception.Text, got.Exception.Exception.Description)
	case value == nil || got.Result.Value == nil:
		return nil
	}
	return json.Unmarshal(got.Result.Value, value)
}

// is reports whether an expression holds. While a page is being left it does not.
func (b *tab) is(expression string) bool {
	var yes bool
	return b.try("!!("+expression+")", &yes) == nil && yes
}

// until waits until an expression holds.
func (b *tab) until(what, expression string) {
	b.t.Helper()
	b.untilWithin(shownWithin, what, expression)
}

func (b *tab) untilWithin(bound time.Duration, what, expression string) {
	b.t.Helper()
	await(b.t, bound, what, func() bool { return b.is(expression) })
}

// text is an element's text in one line; empty when there is none.
func (b *tab) text(selector string) string {
	b.t.Helper()
	var s string
	b.eval(`(document.querySelector(`+quoted(selector)+`)?.textContent ?? "")`, &s)
	return strings.Join(strings.Fields(s), " ")
}

// shows waits until the page's text has a part.
func (b *tab) shows(part string) {
	b.t.Helper()
	b.until("the page to show "+part, "document.body.innerText.includes("+quoted(part)+")")
}

func quoted(s string) string {
	text, _ := json.Marshal(s) // a string is always JSON
	return string(text)
}

// click clicks with the mouse in the middle of what an expression finds, once it
// stands still and nothing is in front of it.
func (b *tab) click(element string) {
	b.t.Helper()
	x, y := b.middle(element)
	b.call("Input.dispatchMouseEvent", object{"type": "mouseMoved", "x": x, "y": y}, nil)
	for _, kind := range []string{"mousePressed", "mouseReleased"} {
		b.call("Input.dispatchMouseEvent", object{"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1}, nil)
	}
}

// hover moves the mouse over what an expression finds.
func (b *tab) hover(element string) {
	b.t.Helper()
	x, y := b.middle(element)
	b.call("Input.dispatchMouseEvent", object{"type": "mouseMoved", "x": x, "y": y}, nil)
}

// middle finds an element's middle.
func (b *tab) middle(element string) (x, y float64) {
	b.t.Helper()
	var at *struct{ X, Y float64 }
	find := `(async () => {
		const e = ` + element + `;
		if (!e) return null;
		e.scrollIntoView({block: "center", inline: "center"});
		const box = () => e.getBoundingClientRect();
		const was = box();
		await new Promise((f) => requestAnimationFrame(() => requestAnimationFrame(f)));
		const r = box();
		if (r.width === 0 || r.x !== was.x || r.y !== was.y) return null;
		const x = r.x + r.width / 2, y = r.y + r.height / 2, top = document.elementFromPoint(x, y);
		return top && (e.contains(top) || top.contains(e)) ? {X: x, Y: y} : null;
	})()`
	await(b.t, shownWithin, element+" to be there, and still", func() bool { return b.try(find, &at) == nil && at != nil })
	return at.X, at.Y
}

// onFailure says what the tab showed when its test failed. go test -artifacts keeps
// the picture.
func (b *tab) onFailure() {
	if !b.t.Failed() {
		return
	}
	var shown string
	_ = b.try(`location.href + "\n" + document.body.innerText`, &shown) // it may be gone
	b.t.Logf("the tab shows %s", shown[:min(len(shown), 2000)])
	b.front() // one behind others is not painted
	b.picture(b.t.ArtifactDir(), fmt.Sprintf("tab-%d.png", b.seen.loads()), false)
}

// front brings the tab before the others of its window.
func (b *tab) front() { b.call("Page.bringToFront", nil, nil) }

// picture writes a PNG of the tab, of its whole page when that is asked for.
func (b *tab) picture(dir, name string, whole bool) {
	b.t.Helper()
	height := b.look.Height
	if whole {
		b.eval("document.documentElement.scrollHeight", &height)
		b.call("Emulation.setDeviceMetricsOverride", object{"width": b.look.Width, "height": height, "deviceScaleFactor": 1, "mobile": b.look.Width < 700}, nil)
	}
	var got struct {
		Data string `json:"data"`
	}
	b.call("Page.captureScreenshot", object{"format": "png", "optimizeForSpeed": false}, &got)
	image, err := base64.StdEncoding.DecodeString(got.Data)
	b.must(err)
	b.must(os.WriteFile(filepath.Join(dir, name), image, 0o600))
	b.t.Logf("%s: %d KB", name, len(image)>>10)
}
