// Package sandbox puts Bitrix24 portals in a box: HTTP servers on loopback
// that behave as portals do, quirks included, for tests, rehearsals and a
// first try without an account.
//
// In a test it takes one line:
//
//	sb := sandbox.Start(t, sandbox.WithPortals(sandbox.Cloud("acme.bitrix24.ru")))
//	client := &http.Client{Transport: sb.Transport()}
//
// The portal then answers at https://acme.bitrix24.ru/rest/… through that
// transport, without DNS and without TLS. Other processes reach portals that
// are named by a loopback address and port, see [Sandbox.Listen].
//
// # Applications
//
// [WithApplication] makes an application known, and [Portal.App] installs it:
// the portal then has a pair of tokens ([PortalState.Pair]), which the
// authorization server in the box renews as the real one does, each refresh
// token once. Tests let tokens expire and be revoked, lose the answer to a
// trade ([Fault] with Methods "oauth/token"), and have a portal send the events
// of installing and uninstalling ([PortalState.SendInstall]). Requests are
// searched for secrets that are not meant for who got them; that, and the
// reuse of a dead refresh token, is in [Sandbox.Violations].
//
// # What is imitated
//
// Both sign-ins (webhooks and access tokens), rotating refresh tokens, the
// order of a portal's checks, get-or-create by CODE over all applications with
// the gap between look and insert, batches, the request rate, operating time,
// renames, and on demand every documented error and all that goes wrong on the
// way ([Fault]). Where the public documentation and the portal's published
// sources differ, [Dialect] chooses.
//
// The package judges programs that call portals. It therefore shares no code
// with this project's client: what it accepts and refuses is what portals
// accept and refuse, not what the client believes about them.
//
// # Time
//
// [WithScale] shortens every period of a sandbox: at 0.01 a portal drains its
// request bucket a hundred times as fast, its operating window lasts 6 s in
// place of 600 s, and its limit is 4.8 s in place of 480 s. The seconds in
// answers are always seconds that really passed (or were charged) in that
// scaled world: a client whose rate, operating_limit, operating_window and
// server_timeout are those of [PortalState.Limits] agrees with the portal.
package sandbox
