// README.md and README.ru.md tell the same, so that whoever changes one changes the
// other; both name every setting, class and status; what documents link to exists.

package reference

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"botfleet/bitrix"
	"botfleet/cmd/internal/config"
	"botfleet/tasks/runs"
	"botfleet/tasks/sweep"
)

const root = "../../../"

func readmes(t *testing.T) (english, russian document) {
	t.Helper()
	return read(t, root+"README.md"), read(t, root+"README.ru.md")
}

// TestREADMEsAgree compares them section by section: levels, fenced blocks, tables,
// names in code, figures and links.
func TestREADMEsAgree(t *testing.T) {
	en, ru := readmes(t)
	for i := range min(len(en.sections), len(ru.sections)) {
		if en.sections[i].level != ru.sections[i].level {
			t.Fatalf("section %d: %q is of another level than %q: is one missing before it?", i, ru.sections[i].title, en.sections[i].title)
		}
	}
	if len(en.sections) != len(ru.sections) {
		t.Fatalf("README.md has %d sections, README.ru.md %d", len(en.sections), len(ru.sections))
	}
	for i, s := range en.sections {
		t.Run(s.title, func(t *testing.T) {
			r := ru.sections[i]
			sameBlocks(t, s.blocks, r.blocks)
			sameTables(t, s.tables, r.tables)
			same(t, "names in code", spans(s.prose), spans(r.prose))
			same(t, "figures", figures(s.prose, ","), figures(r.prose, " \u00a0"))
			same(t, "links", leads(links(s.prose), en, en), leads(links(r.prose), ru, en))
		})
	}
}

// same reports what is in one README's section only.
func same(t *testing.T, what string, en, ru []string) {
	t.Helper()
	lacks := func(of, in []string) (all []string) {
		in = slices.Clone(in)
		for _, s := range of {
			if i := slices.Index(in, s); i >= 0 {
				in = slices.Delete(in, i, i+1)
			} else {
				all = append(all, s)
			}
		}
		return all
	}
	if only := lacks(en, ru); len(only) > 0 {
		t.Errorf("%s that README.ru.md lacks: %q", what, only)
	}
	if only := lacks(ru, en); len(only) > 0 {
		t.Errorf("%s that README.md lacks: %q", what, only)
	}
}

var comment = regexp.MustCompile(`(?m)(^|[ \t]+)#.*$`)

// sameBlocks compares fenced blocks. Comments are translated, and so are pictures.
func sameBlocks(t *testing.T, en, ru []block) {
	t.Helper()
	if len(en) != len(ru) {
		t.Fatalf("README.md has %d fenced blocks, README.ru.md %d", len(en), len(ru))
	}
	for i, e := range en {
		r := ru[i]
		if e.lang == "sh" {
			e.text, r.text = comment.ReplaceAllString(e.text, ""), comment.ReplaceAllString(r.text, "")
		}
		if e != r && !(strings.Contains(e.text, "┌") && strings.Contains(r.text, "┌")) {
			t.Errorf("README.md has\n%s\nREADME.ru.md\n%s", e.text, r.text)
		}
	}
}

// sameTables compares tables: their size, and what their rows are about.
func sameTables(t *testing.T, en, ru [][]cells) {
	t.Helper()
	if len(en) != len(ru) {
		t.Fatalf("README.md has %d tables, README.ru.md %d", len(en), len(ru))
	}
	for i := range en {
		if len(en[i]) != len(ru[i]) {
			t.Errorf("table %d has %d rows in README.md, %d in README.ru.md", i+1, len(en[i]), len(ru[i]))
			continue
		}
		for j, e := range en[i] {
			sameRow(t, e, ru[i][j])
			if en[i][0][0] == "metric" && j > 0 {
				same(t, "type and labels of "+e[0], e[1:3], ru[i][j][1:3])
			}
		}
	}
}

func sameRow(t *testing.T, en, ru cells) {
	t.Helper()
	if len(en) != len(ru) {
		t.Fatalf("%q has %d columns, %q %d", en[0], len(en), ru[0], len(ru))
	}
	for i := range en {
		if e, r := spans(en[i]), spans(ru[i]); !slices.Equal(e, r) {
			t.Errorf("%s, column %d: README.md names %q, README.ru.md %q", en[0], i+1, e, r)
		}
		if e, r := figures(en[i], ","), figures(ru[i], " \u00a0"); !slices.Equal(e, r) {
			t.Errorf("%s, column %d: README.md has the figures %q, README.ru.md %q", en[0], i+1, e, r)
		}
	}
}

var (
	thousands = regexp.MustCompile(`\d{1,3}([, \x{a0}]\d{3})+\b`)
	figure    = regexp.MustCompile(`\d+(?:[.,]\d+)*`)
)

// figures are the numbers of a text, without what separates their thousands (one
// of the characters of marks) and with decimal points, sorted; code and links have none.
func figures(text, marks string) []string {
	text = codeSpan.ReplaceAllString(text, "")
	text = regexp.MustCompile(`\]\([^)]*\)|<http[^>]*>`).ReplaceAllString(text, "]")
	text = thousands.ReplaceAllStringFunc(text, func(s string) string {
		if strings.Trim(s, "0123456789"+marks) != "" {
			return s
		}
		return strings.Map(func(r rune) rune {
			if strings.ContainsRune(marks, r) {
				return -1
			}
			return r
		}, s)
	})
	var all []string
	for _, f := range figure.FindAllString(text, -1) {
		all = append(all, strings.ReplaceAll(f, ",", "."))
	}
	slices.Sort(all)
	return all
}

// leads are links in a form that is the same in both READMEs: those within one by the
// English title; those from one to the other are left out.
func leads(targets []string, in, english document) []string {
	var all []string
	anchors := in.anchors()
	for _, target := range targets {
		name, within := strings.CutPrefix(target, "#")
		switch {
		case strings.HasPrefix(target, "README"):
			continue
		case within:
			if i, ok := anchors[name]; ok {
				target = english.sections[i].title
			}
		}
		all = append(all, target)
	}
	return all
}

// firstColumn are the names in code of a table's first column; the table is the one
// whose header begins with one of the given words.
func firstColumn(t *testing.T, d document, headers ...string) []string {
	t.Helper()
	var all []string
	for _, s := range d.sections {
		for _, table := range s.tables {
			if !slices.Contains(headers, table[0][0]) {
				continue
			}
			for _, row := range table[1:] {
				all = append(all, spans(row[0])...)
			}
		}
	}
	if len(all) == 0 {
		t.Fatalf("%s has no table of %s", d.path, headers[0])
	}
	slices.Sort(all)
	return all
}

func TestREADMEsTellOfEverySetting(t *testing.T) {
	var want []string
	for _, v := range config.Variables() {
		want = append(want, v.Name)
	}
	slices.Sort(want)
	en, ru := readmes(t)
	for _, d := range []document{en, ru} {
		if got := firstColumn(t, d, "variable", "переменная"); !slices.Equal(got, want) {
			t.Errorf("%s tells of the settings\n%q, there are\n%q", d.path, got, want)
		}
	}
}

// The classes Limit and Token never end a row.
func TestREADMEsTellOfEveryClassAndStatus(t *testing.T) {
	classes := []string{
		string(bitrix.Validation), string(bitrix.Conflict), string(bitrix.Blocked), string(bitrix.Ambiguous), string(bitrix.Transient),
		sweep.ClassOperator,
	}
	statuses := []string{string(runs.StatusRegistered), string(runs.StatusDead), string(runs.StatusRefused), string(runs.StatusDuplicate)}
	slices.Sort(classes)
	slices.Sort(statuses)
	en, ru := readmes(t)
	for _, d := range []document{en, ru} {
		if got := firstColumn(t, d, "`class`"); !slices.Equal(got, classes) {
			t.Errorf("%s tells of the classes %q, there are %q", d.path, got, classes)
		}
		if got := firstColumn(t, d, "`status`"); !slices.Equal(got, statuses) {
			t.Errorf("%s tells of the statuses %q, there are %q", d.path, got, statuses)
		}
	}
}

// TestLinks follows every relative link of the documents to its file and its heading.
func TestLinks(t *testing.T) {
	var paths []string
	for _, pattern := range []string{"*.md", "cmd/*/README.md", "deploy/*.md", "deploy/*/*.md"} {
		found, err := filepath.Glob(root + pattern)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, found...)
	}
	if len(paths) < 8 {
		t.Fatalf("only %q are found", paths)
	}
	for _, path := range paths {
		d := read(t, path)
		for _, s := range d.sections {
			for _, target := range links(s.prose) {
				follow(t, d, target)
			}
		}
	}
}

func follow(t *testing.T, from document, target string) {
	t.Helper()
	if strings.Contains(target, "://") {
		return
	}
	name, fragment, _ := strings.Cut(target, "#")
	to := from.path
	if name != "" {
		to = filepath.Join(filepath.Dir(from.path), filepath.FromSlash(name))
	}
	if _, err := os.Stat(to); err != nil {
		t.Errorf("%s links to %s, which there is not", from.path, target)
		return
	}
	if fragment == "" {
		return
	}
	if _, ok := read(t, to).anchors()[fragment]; !ok {
		t.Errorf("%s links to %s: there is no such heading", from.path, target)
	}
}
