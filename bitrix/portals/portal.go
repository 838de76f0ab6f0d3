// What is known of one portal.

package portals

import (
	"time"

	"botfleet/bitrix"
	"botfleet/ratelimit"
)

// Kind says how a portal is signed in to.
type Kind string

const (
	Webhook Kind = "webhook" // an incoming webhook, whose URL is the secret
	OAuth   Kind = "oauth"   // an application's access token
)

// Portal is one company's Bitrix24, as the registry knows it.
type Portal struct {
	ID   string // permanent, assigned when the portal is first seen; survives renames
	Name string // host, or host:port, in lower case
	// Queue is the asynq queue of the portal's tasks, fixed when the portal is first seen.
	Queue string
	Kind  Kind
	// ClientID is the CLIENT_ID for webhook registrations that give none.
	ClientID string
	MemberID string // Bitrix24's own name for the portal; empty while unknown
	Plan     string // standard or enterprise
	Limits   ratelimit.Limits
	// ServerTimeout is how long the portal may work on one request after it was
	// sent. 60 s on the cloud.
	ServerTimeout time.Duration
	// Credential names the present credentials for the operating budget and for
	// comparing; it is no secret, and changes when they do.
	Credential string
	// Access holds the opened credentials. It never prints them.
	Access bitrix.Access
	// Held is set while the portal is held.
	Held *Hold
}

// Hold is why, and since when, a portal is not called.
type Hold struct {
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
}

// Application names the REST application that a registration on this portal
// belongs to: the webhook's custom application made of the CLIENT_ID, or the
// OAuth application itself.
func (p *Portal) Application(clientID string) string {
	if p.Kind == OAuth {
		return "oauth"
	}
	if clientID == "" {
		clientID = p.ClientID
	}
	return "custom" + clientID
}
