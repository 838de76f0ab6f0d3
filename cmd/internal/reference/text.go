// Help texts as Markdown: paragraphs, tables of exit statuses and of settings, and
// what is indented as it is.

package reference

import (
	"fmt"
	"regexp"
	"strings"
)

// text writes a command's long help.
func (r *writer) text(long string) {
	for block := range strings.SplitSeq(strings.TrimSpace(long), "\n\n") {
		block = strings.Trim(block, "\n")
		heading, rest, _ := strings.Cut(block, "\n")
		switch {
		case block == "":
		case strings.HasPrefix(heading, "Exit status") && strings.HasPrefix(rest, "  "):
			r.statuses(strings.TrimSuffix(heading, ":"), rest)
		case strings.HasPrefix(heading, "Environment") && strings.HasPrefix(rest, "  "):
			r.settings(strings.TrimSuffix(heading, ":"))
		case strings.HasPrefix(block, "  "):
			r.printf("\n```\n%s\n```\n", unindented(block))
		default:
			r.printf("\n%s\n", r.prose(block))
		}
	}
}

// statuses writes a list of exit statuses as a table.
func (r *writer) statuses(heading, list string) {
	r.printf("\n| %s | |\n|---|---|\n", strings.ToLower(heading[:1])+heading[1:])
	for line := range strings.Lines(list) {
		status, meaning, _ := strings.Cut(strings.TrimSpace(line), " ")
		r.printf("| %s | %s |\n", status, cell(strings.TrimSpace(meaning)))
	}
}

// settings writes the table of environment variables.
func (r *writer) settings(heading string) {
	r.printf("\n%s:\n\n| variable | option | default | |\n|---|---|---|---|\n", heading)
	for _, v := range r.variables {
		r.printf("| `%s` | %s | %s | %s |\n", v.Name, code(v.Flag), code(v.Default), cell(v.Help))
	}
}

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}

// technical is what stands in a text as it is typed: options, and names of
// variables and errors.
var technical = regexp.MustCompile(`--[a-z][a-z-]*[a-z]|\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b`)

// prose is a paragraph. What Markdown would take for its own is shown as it is.
func (r *writer) prose(text string) string {
	text = strings.NewReplacer(`\`, `\\`, "*", `\*`, "<", "&lt;", "`", "\\`", "[", `\[`).Replace(text)
	return technical.ReplaceAllStringFunc(text, func(s string) string { return fmt.Sprintf("`%s`", s) })
}
