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
	// Origin is the host that the portal was last imported or installed under,
	// while its name is another: it was renamed since. Users' files still say
	// it, and [Registry.Find] finds the portal by it.
	Origin string
	// Credential is the fingerprint of the present credentials, for comparing;
	// it is no secret, and changes when they or the host do.
	Credential string
	// Account is [bitrix.Access.Account]: who is charged for operating time. It
	// survives refreshes and renames. A registry WithoutSecrets leaves it empty
	// for a webhook that was stored by an early version.
	Account string
	// Generation counts the changes of the credentials, from 1.
	Generation int64
	// Access holds the opened credentials. It never prints them.
	Access bitrix.Access
	// Refresh is OAuth's refresh token, opened; empty when there is none.
	Refresh bitrix.Secret
	// Renewals counts the refreshes with this pair of tokens whose end nobody
	// knows. A [Cache] may show an old count; [Registry.Renewing] tells the present one.
	Renewals int
	// Installed says that the portal's application_token is known.
	Installed bool
	// Held is set while the portal is held.
	Held *Hold
	// Gone is set once the application was uninstalled.
	Gone *Gone
}

// Hold is why, and since when, a portal is not called.
type Hold struct {
	Reason     string    `json:"reason"`
	Since      time.Time `json:"since"`
	ByOperator bool      `json:"by_operator,omitempty"` // a person's: ended by a person only
}

// Gone is why, and since when, a portal is no customer any more.
type Gone struct {
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
