// The settings as help texts show them.

package config

import (
	"fmt"
	"reflect"
	"strings"
	"text/tabwriter"

	"github.com/spf13/pflag"
)

// field is one setting, as its struct tags describe it.
type field struct {
	name, def, help string
	goName          string
	secret          bool
}

func fields() []field {
	t := reflect.TypeFor[Config]()
	var all []field
	for f := range t.Fields() {
		name := f.Tag.Get("env")
		if name == "" || name == "-" {
			continue
		}
		all = append(all, field{
			name: name, def: f.Tag.Get("envDefault"), help: f.Tag.Get("help"),
			goName: f.Name, secret: f.Tag.Get("secret") == "true",
		})
	}
	return all
}

func envName(goName string) string {
	for _, f := range fields() {
		if f.goName == goName {
			return f.name
		}
	}
	return goName
}

func flagName(env string) string { return strings.ToLower(strings.ReplaceAll(env, "_", "-")) }

func orNone(def string) string {
	if def == "" {
		return "none"
	}
	return def
}

// Help is a table of all variables with their defaults.
func Help() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, f := range fields() {
		_, _ = fmt.Fprintf(w, "  %s\t%s\t%s\n", f.name, orNone(f.def), f.help)
	}
	_ = w.Flush() // into memory: cannot fail
	return b.String()
}

// HideFlags keeps the settings' flags out of the list of options: Help shows them.
func HideFlags(set *pflag.FlagSet) {
	for _, f := range fields() {
		if !f.secret {
			set.Lookup(flagName(f.name)).Hidden = true
		}
	}
}
