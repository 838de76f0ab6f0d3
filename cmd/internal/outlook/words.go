// Which limit binds, in words.

package outlook

import "botfleet/ratelimit"

// BindsWords says which limit it is that makes rows take so long; portal is the name
// of the portal whose limit it is.
func BindsWords(binds ratelimit.Reason, portal string) string {
	switch binds {
	case ratelimit.Rate:
		return "the request rate of " + portal + " binds"
	case ratelimit.Budget:
		return "the operating time of " + portal + " binds"
	case ratelimit.InFlight:
		return "the pace of " + portal + " itself binds"
	case ratelimit.Refused:
		return portal + " has refused for its limits and is left alone for a while"
	case Workers:
		return "the workers' pace binds"
	default:
		return "no limit binds"
	}
}
