// Package sweep mends what a queue can lose: by itself, in asynq's own corners,
// or when a Redis fails over, evicts keys or is edited by hand.
//
// asynq moves tasks in scripts, so a healthy queue never shows a task that is
// named in a list it does not belong to, or in none. A [Sweeper] looks for
// those that are: archived tasks that no archive lists, and whose ids are taken
// for ever; active ones without a lease, which nobody would recover; tasks in no
// list at all; ids without a task; names of queues that dashboards no longer
// know. It mends each by a script that looks once more.
//
// Then it is the runs' turn. A row that waits has a task, always: one whose task
// was deleted or lost is queued again; one whose task has ended without the run
// being told gets the end that its task had; one whose place another row's task
// has taken is that row's duplicate.
//
// All of it is looked at every ten minutes; once a minute what may be seen at little
// cost: the queues' names, the active tasks, and what has newly come to the archive,
// as people archive tasks and wait for their rows to end.
//
// One worker of a fleet sweeps at a time. Every suspect is looked at twice, some
// seconds apart, and every question concerns a few hundred keys at most, so that
// nobody waits for the sweeper.
package sweep
