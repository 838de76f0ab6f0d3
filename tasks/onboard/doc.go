// Package onboard takes in the portals that install the application.
//
// A portal tells of its install with a form that it POSTs to the application's
// install handler, and of the uninstall likewise. [Service.Handler] answers it
// at once and the same whatever the form says: it only reads the form and keeps
// it, sealed, as a task of its own queue ([Queue]). Whoever sends it learns
// neither whether the portal is known nor whether a token is right.
//
// [Service.Start] works on what was kept, in whatever process. An install
// proves itself first: its access token has to open the very portal that it
// names ([Prover]). Then the portal is stored, and its bots are submitted into a
// run of their own. Every step may be repeated: after a crash, with Redis away,
// or because the portal sends its form again, one install makes one portal and
// registers its bots once. What fails in a way that may pass is tried again for
// a day; what is refused is logged, with what to do about it, and forgotten.
package onboard
