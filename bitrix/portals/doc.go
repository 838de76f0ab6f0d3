// Package portals knows which portals there are, how to sign in to them, and
// what they allow.
//
// A portals file ([ReadFile]) is checked as a whole and stored by
// [Registry.Import] in Redis, where every worker finds it. There a portal has a
// permanent id and a queue of its own, which survive new credentials and a new
// host. Portals also come by themselves ([Registry.Install]), get new tokens
// ([Registry.Renew]) and hosts ([Registry.Move]), and go ([Registry.Uninstall]).
// Credentials are sealed under a [Keyring] and bound to their portal: a
// record copied to another portal does not open. Workers read through a
// [Cache], which forgets what was changed.
package portals
