// The settings as others list them.

package config

// Variable is one setting, as documents tell of it.
type Variable struct {
	Name    string // REQUEST_TIMEOUT
	Flag    string // --request-timeout; empty for a secret, which no command line may show
	Default string // as a user would write it; may be empty
	Help    string
}

// Variables are all settings, in the order in which help texts show them.
func Variables() []Variable {
	var all []Variable
	for _, f := range fields() {
		v := Variable{Name: f.name, Default: f.def, Help: f.help}
		if !f.secret {
			v.Flag = "--" + flagName(f.name)
		}
		all = append(all, v)
	}
	return all
}
