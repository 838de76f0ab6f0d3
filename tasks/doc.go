// Package tasks turns registrations into asynq tasks and back into outcomes.
//
// One task is one bot on one portal: what the dashboard shows, what is retried,
// what is dead-lettered. A producer gives registrations to [Client.Submit]; a
// [Worker] runs [Handler] on them, which hands each to the dispatcher and turns
// its end into a verdict: registered, put off without an attempt spent, tried
// again, or dead. The outcome is recorded in the row's run before the task is
// acknowledged or archived, so that the queue's own limits lose nothing.
//
// # The queue
//
// A task's payload is a small reference ([Payload]): what to look up, and what
// a person wants to read. What is to be registered waits in the run. A task's
// id is made of the portal's permanent id, the application and the CODE, so
// that one bot is queued once.
//
// # Where to begin
//
// A service that registers its bots on its customers' portals needs a [Client], and
// the worker command beside it: see the example of [Client.Submit]. The example
// "Sandbox" adds a worker in the same process and a portal in a box, which is how
// such a service is tested; "OwnStore" shows a service that keeps its customers'
// portals and tokens itself.
package tasks
