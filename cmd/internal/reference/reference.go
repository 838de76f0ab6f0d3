// Package reference writes the reference of a command line in Markdown, from the
// commands themselves: what they say in their help is all that there is to know.
package reference

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"botfleet/cmd/internal/config"
)

// Markdown is the reference of a command and all below it: text by text as --help
// shows it, options and settings as tables. how says how to write it anew.
func Markdown(root *cobra.Command, how string) []byte {
	r := &writer{variables: config.Variables()}
	r.printf("# %s\n\n", root.Name())
	r.printf("<!-- Written from the code by `%s`; edits here are lost. -->\n", how)
	r.contents(root)
	r.command(root)
	return append(bytes.TrimRight(r.Bytes(), "\n"), '\n')
}

type writer struct {
	bytes.Buffer

	variables []config.Variable
}

func (r *writer) printf(format string, args ...any) { _, _ = fmt.Fprintf(r, format, args...) }

// children are the commands below one that are told of.
func children(c *cobra.Command) []*cobra.Command {
	var all []*cobra.Command
	for _, sub := range c.Commands() { // sorted by name
		if sub.IsAvailableCommand() && sub.Name() != "help" {
			all = append(all, sub)
		}
	}
	return all
}

// contents lists the commands below one.
func (r *writer) contents(c *cobra.Command) {
	all := children(c)
	if len(all) == 0 {
		return
	}
	r.printf("\n| command | |\n|---|---|\n")
	for _, sub := range all {
		r.printf("| [`%s`](#%s) | %s |\n", sub.CommandPath(), anchor(sub.CommandPath()), cell(sub.Short))
	}
}

// anchor is where a heading is found.
func anchor(heading string) string { return strings.ReplaceAll(strings.ToLower(heading), " ", "-") }

// command writes one command, and then those below it.
func (r *writer) command(c *cobra.Command) {
	if c.HasParent() {
		r.printf("\n## %s\n\n%s.\n", c.CommandPath(), r.prose(strings.TrimSuffix(c.Short, ".")))
	}
	r.printf("\n```\n%s\n```\n", usage(c))
	if c.HasParent() {
		r.contents(c)
	}
	r.text(c.Long)
	if example := strings.Trim(c.Example, "\n"); example != "" {
		r.printf("\n```sh\n%s\n```\n", unindented(example))
	}
	r.options(c)
	for _, sub := range children(c) {
		r.command(sub)
	}
}

// usage is a command's line. One that has nothing but commands below it takes one
// of them.
func usage(c *cobra.Command) string {
	if len(children(c)) > 0 {
		line := c.CommandPath() + " [command] [flags]"
		if c.Runnable() && !c.HasParent() {
			line = c.CommandPath() + " [flags]\n" + line
		}
		return line
	}
	return c.UseLine()
}

// options writes the table of a command's own options. Those of the root that all
// commands have stand there only; settings stand in their own table.
func (r *writer) options(c *cobra.Command) {
	var rows []string
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" || f.Name == "version" || c.HasParent() && c.InheritedFlags().Lookup(f.Name) != nil {
			return
		}
		name, text := pflag.UnquoteUsage(f)
		flag := "--" + f.Name
		if name != "" {
			flag += " " + name
		}
		rows = append(rows, fmt.Sprintf("| `%s` | %s | %s |\n", flag, defaultOf(f), cell(text)))
	})
	if len(rows) == 0 {
		return
	}
	heading := "option"
	if !c.HasParent() && c.PersistentFlags().HasFlags() {
		heading = "option of all commands"
	}
	r.printf("\n| %s | default | |\n|---|---|---|\n%s", heading, strings.Join(rows, ""))
}

// defaultOf is an option's value when it is not given.
func defaultOf(f *pflag.Flag) string {
	switch f.DefValue {
	case "", "false", "[]", "0", "0s":
		return ""
	}
	return "`" + f.DefValue + "`"
}

// cell is a text within a table.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "\n", " ").Replace(text)
}

// unindented is a text without the blanks before each line.
func unindented(text string) string {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		lines[i] = strings.TrimPrefix(l, "  ")
	}
	return strings.Join(lines, "\n")
}
