// Where a portal is and how to sign in to it.

package bitrix

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Access is a portal's address and the credential for it: an incoming webhook,
// or an application's OAuth access token. Its zero value signs in nowhere.
//
// It prints, logs and marshals without its secret. [Access.Reveal] is the one
// way to the secret. Compare accesses by [Access.Fingerprint], not by ==.
type Access struct {
	// p is a pointer so that fmt, which does not call the methods of a value
	// in somebody's unexported field, prints an address there and no secret;
	// and one to a pointer, as %s of such a field follows a pointer to a struct.
	p **credential
}

type credential struct {
	scheme string
	host   string // host[:port], lower case, no default port
	user   string // of a webhook; empty for OAuth
	secret string // a webhook's secret path segment, or an access token
}

func newAccess(c credential) Access {
	p := &c
	return Access{&p}
}

// get is the credential, or nil in the zero Access.
func (a Access) get() *credential {
	if a.p == nil {
		return nil
	}
	return *a.p
}

// maxTokenBytes is far above any access token: Bitrix24's hold some 70 characters.
const maxTokenBytes = 4 << 10

// ParseWebhook reads an incoming webhook's URL as copied from Bitrix24:
// https://HOST/rest/USER/SECRET/, with or without the last slash or a method
// after it. The error says in words what is wrong and never repeats the URL.
// Whether the host may be called is decided by [Endpoints.Check].
func ParseWebhook(raw string) (Access, error) {
	scheme, host, path, err := splitAddress(raw)
	if err != nil {
		return Access{}, fmt.Errorf("webhook URL %w", err)
	}
	user, secret, err := webhookPath(path)
	if err != nil {
		return Access{}, fmt.Errorf("webhook URL %w", err)
	}
	return newAccess(credential{scheme: scheme, host: host, user: user, secret: secret}), nil
}

// NewOAuth makes an Access of an application's access token. endpoint is the
// client_endpoint that came with it, "https://acme.bitrix24.ru/rest/", or a
// bare host[:port], which means https.
func NewOAuth(endpoint, token string) (Access, error) {
	endpoint = strings.TrimSpace(endpoint)
	if endpoint != "" && !strings.Contains(endpoint, "://") {
		endpoint = "https://" + endpoint
	}
	scheme, host, path, err := splitAddress(endpoint)
	if err != nil {
		return Access{}, fmt.Errorf("client endpoint %w", err)
	}
	if path = strings.Trim(path, "/"); path != "" && path != "rest" {
		return Access{}, errors.New("client endpoint must end in /rest/ or be a bare host")
	}
	token = strings.TrimSpace(token)
	if err := checkToken(token); err != nil {
		return Access{}, fmt.Errorf("access token %w", err)
	}
	return newAccess(credential{scheme: scheme, host: host, secret: token}), nil
}

// IsZero reports whether a is the zero Access.
func (a Access) IsZero() bool { return a.p == nil }

// Host is the portal's host, with its port unless it is the scheme's own, in
// lower case.
func (a Access) Host() string {
	if a.p == nil {
		return ""
	}
	return a.get().host
}

// Scheme is https, or http where the operator allows it.
func (a Access) Scheme() string {
	if a.p == nil {
		return ""
	}
	return a.get().scheme
}

// Webhook reports whether the credential is an incoming webhook.
func (a Access) Webhook() bool { return a.p != nil && a.get().user != "" }

// Endpoint is where the portal's REST interface begins,
// "https://acme.bitrix24.ru/rest/". It is no secret; [NewOAuth] takes it.
func (a Access) Endpoint() string {
	if a.p == nil {
		return ""
	}
	return a.get().scheme + "://" + a.get().host + "/rest/"
}

// Reveal returns the secret: a webhook's URL, as [ParseWebhook] takes it, or
// an access token; the other one is empty. It is the one way out and meant for
// sealing: what it returns must reach no text, log or message.
func (a Access) Reveal() (webhookURL, token string) {
	switch {
	case a.p == nil:
		return "", ""
	case a.Webhook():
		return a.Endpoint() + a.get().user + "/" + a.get().secret + "/", ""
	}
	return "", a.get().secret
}

// Fingerprint names the credential at its host: 16 hexadecimal digits of a
// SHA-256 hash. It is no secret, and changes when the credential or the host
// does, so also with every refreshed access token. Empty for the zero Access.
func (a Access) Fingerprint() string {
	if a.p == nil {
		return ""
	}
	sum := sha256.Sum256([]byte(a.get().scheme + "\x00" + a.get().host + "\x00" + a.get().user + "\x00" + a.get().secret))
	return hex.EncodeToString(sum[:8])
}

// Account names who is charged for operating time: "webhook-" and 12
// hexadecimal digits of a SHA-256 hash of the user and the secret alone, or
// "oauth" for an application, which a portal charges as one whatever token it
// shows. It is no secret, and stays the same when the host changes or a token
// is refreshed. Empty for the zero Access.
func (a Access) Account() string {
	switch {
	case a.p == nil:
		return ""
	case !a.Webhook():
		return "oauth"
	}
	sum := sha256.Sum256([]byte(a.get().user + "\x00" + a.get().secret))
	return "webhook-" + hex.EncodeToString(sum[:6])
}

// At is the same credential at another place of the same portal, which was
// renamed. Whether it may go there is decided by [Endpoints.CheckMove].
func (a Access) At(scheme, host string) (Access, error) {
	if a.p == nil {
		return Access{}, errors.New("no credential to take elsewhere")
	}
	place, err := normalPlace(scheme, host)
	if err != nil {
		return Access{}, fmt.Errorf("the new address %w", err)
	}
	c := *a.get()
	c.scheme, c.host, _ = strings.Cut(place, "://")
	return newAccess(c), nil
}

// place is "scheme://host" of the portal.
func (a Access) place() string { return a.Scheme() + "://" + a.Host() }

// String shows where the access leads, with the secret hidden.
func (a Access) String() string {
	switch {
	case a.p == nil:
		return "no access"
	case a.Webhook():
		return "webhook " + a.Endpoint() + hidden
	}
	return "OAuth " + a.Endpoint() + " " + hidden
}

// GoString is String, for %#v.
func (a Access) GoString() string { return a.String() }

// Format prints String for every verb.
func (a Access) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(a.String())) }

// MarshalJSON gives String as a JSON string.
func (a Access) MarshalJSON() ([]byte, error) { return json.Marshal(a.String()) }

// MarshalText gives String, for other encoders and for map keys.
func (a Access) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// LogValue gives String to log/slog.
func (a Access) LogValue() slog.Value { return slog.StringValue(a.String()) }

// methodURL is the address of a REST method. It holds a webhook's secret.
func (a Access) methodURL(method string) *url.URL {
	path := "/rest/"
	if a.Webhook() {
		path += a.get().user + "/" + a.get().secret + "/"
	}
	return &url.URL{Scheme: a.get().scheme, Host: a.get().host, Path: path + method}
}

// token is what goes into the body as "auth"; empty for a webhook.
func (a Access) token() string {
	if a.Webhook() {
		return ""
	}
	return a.get().secret
}

// splitAddress takes an address apart. Its errors read after "webhook URL …"
// and quote nothing: the part that is wrong may be the secret.
func splitAddress(raw string) (scheme, host, path string, err error) {
	raw = strings.TrimSpace(raw)
	switch {
	case raw == "":
		return "", "", "", errors.New("is empty")
	case !utf8.ValidString(raw):
		return "", "", "", errors.New("is not valid UTF-8")
	case strings.IndexFunc(raw, spaceOrControl) >= 0:
		return "", "", "", errors.New("holds a space or a control character")
	}
	scheme, rest, found := strings.Cut(raw, "://")
	scheme = strings.ToLower(scheme)
	switch {
	case !found:
		return "", "", "", errors.New("does not begin with https://")
	case scheme != "https" && scheme != "http":
		return "", "", "", errors.New("must begin with https://, not with another scheme")
	case strings.ContainsAny(rest, "?#"):
		return "", "", "", errors.New("must not hold ? or #: it ends with its path")
	}
	host, path, _ = strings.Cut(rest, "/")
	if host, err = normalHost(scheme, host); err != nil {
		return "", "", "", err
	}
	return scheme, host, path, nil
}

// webhookPath reads rest/USER/SECRET[/METHOD].
func webhookPath(path string) (user, secret string, err error) {
	parts := strings.Split(strings.TrimSuffix(path, "/"), "/")
	switch {
	case parts[0] != "rest":
		return "", "", errors.New("has no /rest/ after the host: it looks like https://HOST/rest/USER/SECRET/")
	case len(parts) < 2 || parts[1] == "":
		return "", "", errors.New("ends after /rest/: the user's number and the secret are missing")
	case !userNumber(parts[1]):
		return "", "", errors.New("must have the user's number after /rest/: it looks like https://HOST/rest/USER/SECRET/")
	case len(parts) < 3 || parts[2] == "", strings.EqualFold(parts[2], "profile"), strings.EqualFold(parts[2], "profile.json"):
		return "", "", errors.New("has no secret after the user's number")
	case strings.IndexFunc(parts[2], notSecretChar) >= 0:
		return "", "", errors.New("has a secret with characters other than letters, digits, - and _")
	case len(parts) > 4:
		return "", "", errors.New("goes on after the secret with more than a method name")
	case len(parts) == 4 && !methodName(parts[3]):
		return "", "", errors.New("goes on after the secret with something other than a method name")
	}
	return parts[1], parts[2], nil
}

// userNumber reports whether s is a user's number: digits, not all zero.
func userNumber(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return len(s) <= 18 && strings.Trim(s, "0") != ""
}

// methodName reports whether s can be the name of a REST method.
func methodName(s string) bool {
	if s == "" || len(s) > 100 || notSecretChar(rune(s[0])) {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool { return r != '.' && notSecretChar(r) }) < 0
}

func notSecretChar(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
		return false
	}
	return true
}

func notVisibleASCII(r rune) bool { return r > unicode.MaxASCII || r <= ' ' || r == 0x7f }
