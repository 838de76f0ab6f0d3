// As much of Markdown as documents are compared by: sections, fenced blocks, tables,
// code spans, links and anchors.

package reference

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// document is a Markdown file, cut into its sections.
type document struct {
	path     string
	sections []section
}

// section is what stands from one heading to the next.
type section struct {
	level  int // of its heading; 0: what stands before the first
	title  string
	prose  string    // all but fenced blocks, tables included
	blocks []block   // fenced
	tables [][]cells // each with its header, and without the line below that
}

type block struct{ lang, text string }

type cells []string

var (
	heading   = regexp.MustCompile(`^(#{1,6}) +(.+?) *$`)
	codeSpan  = regexp.MustCompile("`([^`]+)`")
	link      = regexp.MustCompile(`\[[^\]]*\]\(([^)\s]+)\)`)
	separator = regexp.MustCompile(`^\|[-:| ]+\|$`)
)

// read cuts the file at path into its sections.
func read(t *testing.T, path string) document {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return document{path, cut(string(text))}
}

func cut(text string) []section {
	all := []section{{}}
	var open *block
	for line := range strings.Lines(text) {
		s := &all[len(all)-1]
		line = strings.TrimRight(line, "\n")
		switch fence, isFence := strings.CutPrefix(line, "```"); {
		case isFence && open == nil:
			s.blocks = append(s.blocks, block{lang: fence})
			open = &s.blocks[len(s.blocks)-1]
		case isFence:
			open = nil
		case open != nil:
			open.text += line + "\n"
		default:
			if m := heading.FindStringSubmatch(line); m != nil {
				all = append(all, section{level: len(m[1]), title: m[2]})
				continue
			}
			s.prose += line + "\n"
		}
	}
	for i := range all {
		all[i].tables = tables(all[i].prose)
	}
	return all
}

func tables(prose string) (all [][]cells) {
	within := false
	for line := range strings.Lines(prose) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			within = false
			continue
		}
		if separator.MatchString(line) {
			continue
		}
		if !within {
			all, within = append(all, nil), true
		}
		last := &all[len(all)-1]
		*last = append(*last, columns(line))
	}
	return all
}

// columns cuts a line of a table; \| is no border.
func columns(line string) cells {
	line = strings.ReplaceAll(strings.Trim(line, "|"), `\|`, "\x00")
	var c cells
	for s := range strings.SplitSeq(line, "|") {
		c = append(c, strings.ReplaceAll(strings.TrimSpace(s), "\x00", `\|`))
	}
	return c
}

// spans are the code spans of a text, each once, sorted.
func spans(text string) []string {
	var all []string
	for _, m := range codeSpan.FindAllStringSubmatch(text, -1) {
		all = append(all, strings.Join(strings.Fields(m[1]), " "))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// links are the targets of a text's links and pictures, in their order.
func links(text string) []string {
	var all []string
	for _, m := range link.FindAllStringSubmatch(codeSpan.ReplaceAllString(text, ""), -1) {
		all = append(all, m[1])
	}
	return all
}

// anchors tells each anchor of a document, as GitHub makes them of headings, and
// the number of its section.
func (d document) anchors() map[string]int {
	all := map[string]int{}
	for i, s := range d.sections {
		if s.level > 0 {
			all[slug(s.title)] = i
		}
	}
	return all
}

func slug(title string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, title)
}
