//go:build browser

// Whether everybody can use a page: axe-core's rules, and a narrow screen.

package browser

import (
	_ "embed"
	"testing"
)

//go:embed testdata/axe.min.js
var axe string

// Every rule that is no experiment.
const runAxe = `axe.run(document, {
	runOnly: {type: "rule", values: axe.getRules().filter((r) => !r.tags.includes("experimental")).map((r) => r.ruleId)},
	resultTypes: ["violations"],
}).then((r) => ({
	passed: r.passes.length,
	violations: r.violations.map((v) => v.id + ": " + v.help + ": " + v.nodes.map((n) => n.html.slice(0, 200) + " " + n.failureSummary).join("; ")),
}))`

// usable wants a page that breaks none of axe-core's rules and does not scroll sideways.
func usable(t *testing.T, b *tab, path string) {
	t.Helper()
	b.visit(path)
	b.eval(axe+"; 0", nil)
	var got struct {
		Passed     int
		Violations []string
	}
	b.eval(runAxe, &got)
	if got.Passed < 15 {
		t.Errorf("only %d rules of axe-core found anything to look at", got.Passed)
	}
	for _, v := range got.Violations {
		t.Errorf("%s at %d px, dark %v: %s", path, b.look.Width, b.look.Dark, v)
	}
	var over int
	b.eval("document.documentElement.scrollWidth - document.documentElement.clientWidth", &over)
	if over > 0 {
		t.Errorf("%s at %d px scrolls sideways by %d px", path, b.look.Width, over)
	}
}

// everyLook are the screens that pages are looked at on.
func everyLook() []look {
	return []look{{}, {Dark: true}, {Width: 360, Height: 740}, {Width: 360, Height: 740, Dark: true}}
}
