// Package bitrix is a client for the part of the Bitrix24 REST interface that
// registers chat bots: imbot.register, and imbot.bot.list, imbot.update and
// batch around it.
//
// A portal is one company's Bitrix24. [Access] says where it is and how to
// sign in; [Client] calls it; every failure is one [*Error] whose [Class] says
// what may be done about it. [Bot.Validate] finds what a portal would refuse,
// and what it would silently get wrong, before anything is sent.
//
// The package knows neither Redis nor queues, keeps no limits and repeats
// nothing by itself: pace and repetition belong to its callers.
package bitrix
