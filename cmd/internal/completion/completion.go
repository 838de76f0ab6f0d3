// Package completion is what both commands tell shells: the completion command, which
// writes the script for a shell, and what may stand where on a command line.
//
// A completion is asked for while somebody types. It says what it knows within a
// second, or nothing; it never tells of an error, and never of a secret.
package completion

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// shells are those for which there is a script.
func shells() []string { return []string{"bash", "fish", "powershell", "zsh"} }

// Command is the subcommand completion of the command of that name.
func Command(name string) *cobra.Command {
	return &cobra.Command{
		Use:   "completion " + strings.Join(shells(), "|"),
		Short: "Write the script by which a shell completes " + name + " as it is typed",
		Long: strings.ReplaceAll(`Write the script by which a shell completes commands, options, their values, files,
runs and portals with the Tab key. Runs and portals are read from the Redis of
REDIS_URL, if it answers within a second. Nothing is changed.

For this shell alone:

  source <(NAME completion bash)
  source <(NAME completion zsh)
  NAME completion fish | source
  NAME completion powershell | Out-String | Invoke-Expression

For every new one (bash needs the package bash-completion):

  NAME completion bash > ~/.local/share/bash-completion/completions/NAME
  NAME completion zsh  > "${fpath[1]}/_NAME"
  NAME completion fish > ~/.config/fish/completions/NAME.fish
  NAME completion powershell >> $PROFILE

Exit status:
  0  the script is written
  1  there is none for this shell, or it could not be written`, "NAME", name),
		Example:               "  source <(" + name + " completion bash)",
		Args:                  cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs:             shells(),
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := write(cmd, args[0]); err != nil {
				return fmt.Errorf("write the script for %s: %w", args[0], err)
			}
			return nil
		},
	}
}

func write(cmd *cobra.Command, shell string) error {
	root, w := cmd.Root(), cmd.OutOrStdout()
	switch shell {
	case "bash":
		return root.GenBashCompletionV2(w, true)
	case "fish":
		return root.GenFishCompletion(w, true)
	case "powershell":
		return root.GenPowerShellCompletionWithDesc(w)
	default:
		return root.GenZshCompletion(w)
	}
}

// None offers nothing, and no files either.
func None(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// Words offers some words as the only value.
func Words(words ...string) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return words, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	}
}

// List offers words for each place of a comma-separated list, each word once.
func List(words ...string) cobra.CompletionFunc {
	return Lists(func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return words, cobra.ShellCompDirectiveKeepOrder
	})
}

// Lists offers what one does for each place of a comma-separated list.
func Lists(one cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		before, last := "", begun
		if i := strings.LastIndexByte(begun, ','); i >= 0 {
			before, last = begun[:i+1], begun[i+1:]
		}
		words, directive := one(cmd, args, last)
		var all []string
		for _, w := range words {
			word, _, _ := strings.Cut(w, "\t")
			if !slices.Contains(strings.Split(before, ","), word) {
				all = append(all, before+w)
			}
		}
		// No blank after a word: a comma may follow.
		return all, directive | cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
}

// Files offers files with some endings, which have no dot.
func Files(endings ...string) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return endings, cobra.ShellCompDirectiveFilterFileExt
	}
}

// First offers something as the first argument, and nothing as a further one.
func First(one cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return None(cmd, args, begun)
		}
		return one(cmd, args, begun)
	}
}

// Fill gives every option of the commands from root on what is offered as its
// value, by the option's name. One that is in no table takes a text or a number
// that only the person knows, and offers nothing; neither does a command of whose
// arguments nobody has said anything.
func Fill(root *cobra.Command, values map[string]cobra.CompletionFunc) {
	visit := func(f *pflag.Flag) {
		if _, there := root.GetFlagCompletionFunc(f.Name); there || f.NoOptDefVal != "" {
			return
		}
		offer := values[f.Name]
		if offer == nil {
			offer = None
		}
		_ = root.RegisterFlagCompletionFunc(f.Name, offer) // fails only for a name that is none, or is taken
	}
	root.PersistentFlags().VisitAll(visit)
	root.Flags().VisitAll(visit)
	if !root.HasSubCommands() && root.ValidArgsFunction == nil && len(root.ValidArgs) == 0 {
		root.ValidArgsFunction = None
	}
	for _, c := range root.Commands() {
		Fill(c, values)
	}
}

// Settings is what is offered for the options that stand for environment variables.
func Settings() map[string]cobra.CompletionFunc {
	return map[string]cobra.CompletionFunc{
		"redis-url":              Words("redis://", "rediss://", "redis-sentinel://", "rediss-sentinel://", "redis-cluster://", "rediss-cluster://"),
		"batch":                  Words("auto", "always", "off"),
		"bots-file":              Files("jsonl", "ndjson", "json", "csv"),
		"allow-eviction":         Words("false", "true"),
		"allow-insecure-portals": Words("true"),
		"log-level":              Words("debug", "info", "warn", "error"),
		"log-format":             Words("text", "json"),
	}
}

// Prepare makes a command fit to be completed, if that is what the arguments ask
// for. Texts are shown without the quotes that name an option's value. The settings'
// options, which help texts show in a table of their own, are offered once their
// name is begun: at --r, and not yet at --.
func Prepare(root *cobra.Command, args []string) {
	if len(args) < 2 || args[0] != cobra.ShellCompRequestCmd && args[0] != cobra.ShellCompNoDescRequestCmd {
		return
	}
	begun, isOption := strings.CutPrefix(args[len(args)-1], "--")
	prepare(root, isOption && begun != "")
}

func prepare(c *cobra.Command, reveal bool) {
	visit := func(f *pflag.Flag) {
		f.Usage = strings.ReplaceAll(f.Usage, "`", "")
		f.Hidden = f.Hidden && !reveal
	}
	c.PersistentFlags().VisitAll(visit)
	c.Flags().VisitAll(visit)
	for _, sub := range c.Commands() {
		prepare(sub, reveal)
	}
}
