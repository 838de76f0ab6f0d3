// Package bitrix is a client for the part of the Bitrix24 REST interface that
// registers chat bots: imbot.register, and imbot.bot.list, imbot.update and
// batch around it.
//
// A portal is one company's Bitrix24. [Access] says where it is and how to
// sign in; [Client] calls it; every failure is one [*Error] whose [Class] says
// what may be done about it. [Bot.Validate] finds what a portal would refuse,
// and what it would silently get wrong, before anything is sent.
//
// An application's access token lives for an hour. [AuthServer] trades its
// refresh token for a new pair. A portal may be renamed: nothing is followed by
// itself; [Error.Location] says where to, [Endpoints.CheckMove] whether its
// credentials may go there, and [Access.At] takes them.
//
// Addresses come from strangers. [Endpoints] says which are called, and is
// asked again about the IP address of every connection.
//
// The package knows neither Redis nor queues, keeps no portal's limits and
// repeats nothing by itself: pace and repetition belong to its callers. Only
// AuthServer, which all portals share, keeps a pace of its own.
package bitrix
