// Package signin calls portals with the credentials that they have now: it
// renews access tokens, and follows portals that were renamed.
//
// A [Caller] is given a portal and a method. When the portal answers that the
// access token has expired, the token is renewed and the call repeated, once;
// the call ran nothing before. Nothing else makes a token be renewed: no clock,
// no date of expiry, no start of a program. At most one renewal of a portal
// runs over a whole fleet, and the others wait for it and use what it brought:
//
//   - in a process, one goroutine for each portal ([Caller.Close] waits for it);
//   - between processes, a lock ([Locks]), which only keeps them from asking in
//     vain: a process that was frozen may think that it still has it;
//   - in the store, a number that grows with the credentials: a pair is stored
//     only in place of the one that it was traded for ([Store]).
//
// A refresh token is good for one trade, so a pair whose answer is lost, or that
// is not stored, is lost. A trade is therefore noted before it is made. A note
// without an end means that its end is unknown; the old pair is then tried once
// more, and if it is refused only a new installation helps, which the error says.
//
// All errors are of type [*bitrix.Error]. The class Token never comes out of
// here: where there is no new token, the error is Blocked and says in words what
// is to be done, or it is Transient and its Wait says when to ask again.
package signin
