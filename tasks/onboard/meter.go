// What becomes of events, for metrics and log lines.

package onboard

// Meter hears what became of each request and of each kept event. Its methods
// may be called from many goroutines.
type Meter interface {
	// Event counts one: event is InstallEvent, UninstallEvent or OtherEvent, and
	// outcome one of the Outcome constants.
	Event(event, outcome string)
}

// Events, as a [Meter] hears of them.
const (
	InstallEvent   = "install"
	UninstallEvent = "uninstall"
	OtherEvent     = "other" // another event of a portal, or no event at all
)

// What becomes of a request.
const (
	OutcomeKept      = "kept"      // 200: it is, or was already, in the queue
	OutcomeIgnored   = "ignored"   // 200: an event that is not worked on
	OutcomeMalformed = "malformed" // 400 or 405
	OutcomeBusy      = "busy"      // 503: above the rate, or too many at once
	OutcomeFull      = "full"      // 503: the queue holds as many as it may
	OutcomeUnkept    = "unkept"    // 503: Redis did not take it in time
)

// What becomes of a kept event.
const (
	OutcomeInstalled   = "installed"   // the portal is stored, its bots are submitted
	OutcomeHeld        = "held"        // the same, but the portal must not be called: see its hold
	OutcomeUninstalled = "uninstalled" // the portal is gone
	OutcomeRefused     = "refused"     // it proved nothing, or contradicts what is known
	OutcomePutOff      = "put off"     // it will be tried again
	OutcomeGivenUp     = "given up"    // tried for a day
	OutcomeUnreadable  = "unreadable"  // the task is no event
)

// Outcomes are all that a [Meter] may hear of an event.
func Outcomes() []string {
	return []string{
		OutcomeKept, OutcomeIgnored, OutcomeMalformed, OutcomeBusy, OutcomeFull, OutcomeUnkept, OutcomeInstalled,
		OutcomeHeld, OutcomeUninstalled, OutcomeRefused, OutcomePutOff, OutcomeGivenUp, OutcomeUnreadable,
	}
}

// label is the event's name for people and metrics.
func (e *event) label() string { return labelOf(e.name) }

func labelOf(name string) string {
	switch name {
	case eventInstall:
		return InstallEvent
	case eventUninstall:
		return UninstallEvent
	}
	return OtherEvent
}

type noMeter struct{}

func (noMeter) Event(string, string) {}
