// Every metric by name: what it is, what it is labelled with and what it means.

package metrics

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// definition is one metric. Labels have few values each; none names a portal,
// of which there may be a hundred thousand.
type definition struct {
	name   string
	kind   prometheus.ValueType // Untyped stands for a histogram
	help   string
	labels []string
	desc   *prometheus.Desc
}

func define(kind prometheus.ValueType, name, help string, labels ...string) definition {
	return definition{name: name, kind: kind, help: help, labels: labels, desc: prometheus.NewDesc(name, help, labels, nil)}
}

func counter(name, help string, labels ...string) definition {
	return define(prometheus.CounterValue, name, help, labels...)
}

func gauge(name, help string, labels ...string) definition {
	return define(prometheus.GaugeValue, name, help, labels...)
}

func histogram(name, help string, labels ...string) definition {
	return define(prometheus.UntypedValue, name, help, labels...)
}

// What the worker counts itself.
var (
	buildInfo = gauge("botfleet_build_info", "Always 1; the label is the version that runs.", "version")

	rowsRegistered = counter("botfleet_rows_registered_total", "Rows whose bot stands on its portal, by how it came there.", "how")
	rowsDead       = counter("botfleet_rows_dead_total", "Rows given up, by class and code of their error.", "class", "code")
	rowsDeferred   = counter("botfleet_rows_deferred_total", "Times that a row was handed back without an attempt spent, by what it waits for; sealed: credentials that do not open.", "reason")
	rowWait        = histogram("botfleet_row_wait_seconds", "How long a row waited in the worker for its request.")
	rowCompletion  = histogram("botfleet_row_completion_seconds", "From a row's being queued to its outcome.")

	requests        = counter("botfleet_requests_total", "Requests to portals, by REST method and how they ended.", "method", "outcome")
	requestDuration = histogram("botfleet_request_duration_seconds", "How long requests to portals took, by REST method.", "method")
	requestRows     = histogram("botfleet_request_rows", "How many rows a request to a portal carried, by REST method: for batch, the size of the batches.", "method")

	renewals = counter("botfleet_token_renewals_total",
		"Refresh tokens traded at the authorization server, by how it ended: renewed, refused, lost (the answer) or put off.", "outcome")
	moves    = counter("botfleet_portal_moves_total", "Portals that were followed to a new host.")
	installs = counter("botfleet_installs_total", "Events of the application's install handler, by how they ended.", "event", "outcome")
	mended   = counter("botfleet_mended_total", "What the sweeper has mended in the queue and in runs, by kind.", "kind")
)

// What the gate is asked for. It tells of the portals that this worker has
// asked it for lately; the workers of a fleet share portals, so that their
// values do not add up.
var (
	gatePortals  = gauge("botfleet_gate_portals", "Portals lately asked for, by state: open (1000 are looked at, at most), held, silent or refused.", "state")
	gateSlowed   = gauge("botfleet_gate_portals_slowed", "Portals lately asked for whose request rate was lowered after a refusal.")
	gateLowest   = gauge("botfleet_gate_lowest_rate_ratio", "Request rate in use as a share of the planned one, of the portal where it is lowest; 1 when none is lowered.")
	gateEmpty    = gauge("botfleet_gate_portals_without_tokens", "Open portals lately asked for whose request rate lets nothing go at this moment.")
	gateTokens   = gauge("botfleet_gate_tokens", "Requests that the request rates of the portals lately asked for let go at once, all together.")
	gateInFlight = gauge("botfleet_gate_requests_in_flight", "Requests on their way to the portals lately asked for, of all workers that share the gate.")
	gateInLine   = gauge("botfleet_gate_rows_in_line", "Rows that wait in the lines of the portals lately asked for.")
	gateBudgets  = gauge("botfleet_gate_operating_budgets",
		"Operating time budgets of the portals lately asked for, by what is left: spent, or up to 10, 25, 50, 75 or 100 percent.", "left")
)

// What asynq is asked for: names and types are those of its own collector
// (x/metrics), so that dashboards made for that one work.
var (
	queueTasks = gauge("asynq_tasks_enqueued_total", "Tasks in a queue, by state.", "queue", "state")
	queueSize  = gauge("asynq_queue_size",
		"Tasks in a queue in any state, those kept after their end included.", "queue")
	queueLatency   = gauge("asynq_queue_latency_seconds", "How long the oldest pending task of a queue has been due.", "queue")
	queueMemory    = gauge("asynq_queue_memory_usage_approx_bytes", "Memory that a queue takes in Redis, estimated from samples.", "queue")
	queueProcessed = counter("asynq_tasks_processed_total", "Tasks worked on to an end, good or bad, by queue; a deferral is none.", "queue")
	queueFailed    = counter("asynq_tasks_failed_total", "Tasks whose attempt failed or whose row is dead, by queue; a deferral is no failure.", "queue")
	queuePaused    = gauge("asynq_queue_paused_total", "1 for a queue that was paused, otherwise 0.", "queue")
)

// What the runs, the registry and Redis are asked for: every worker tells the same.
var (
	runsUnfinished = gauge("botfleet_runs_unfinished", "Runs with rows that wait, or that are still being added to (1000 are looked at, at most).")
	runsWaiting    = gauge("botfleet_runs_rows_waiting", "Rows of these runs that have no outcome yet.")
	runsOldest     = gauge("botfleet_runs_oldest_unfinished_seconds", "How long ago the oldest of these runs began; 0 when there is none.")
	oldestRow      = gauge("botfleet_oldest_waiting_row_seconds", "How long about the oldest row without an outcome has been queued; 0 when none waits.")

	knownPortals = gauge("botfleet_portals", "Portals that are known, by state: open or held.", "state")

	redisUsed = gauge("botfleet_redis_memory_used_bytes", "Memory that Redis uses; in a cluster, of its fullest master.")
	redisMax  = gauge("botfleet_redis_memory_max_bytes", "Memory that Redis may use (maxmemory); 0: no bound.")
)

// How the asking goes.
var (
	scrapeErrors = counter("botfleet_scrape_errors_total",
		"Scrapes that got nothing, or not everything, from a collector: gate, portals, queues, redis or runs.", "collector")
	scrapeDuration = gauge("botfleet_scrape_duration_seconds", "How long a collector took the last time.", "collector")
)

// definitions are all metrics but those of Go and of the process.
func definitions() []definition {
	return slices.Concat(
		[]definition{rowsRegistered, rowsDead, rowsDeferred, rowWait, rowCompletion, requests, requestDuration, requestRows,
			renewals, moves, installs, mended},
		gateDefinitions(), queueDefinitions(), runsDefinitions(), portalsDefinitions(), redisDefinitions(),
		[]definition{scrapeErrors, scrapeDuration, buildInfo},
	)
}

func gateDefinitions() []definition {
	return []definition{gatePortals, gateSlowed, gateLowest, gateEmpty, gateTokens, gateInFlight, gateInLine, gateBudgets}
}

func queueDefinitions() []definition {
	return []definition{queueTasks, queueSize, queueLatency, queueMemory, queueProcessed, queueFailed, queuePaused}
}

func runsDefinitions() []definition {
	return []definition{runsUnfinished, runsWaiting, runsOldest, oldestRow}
}

func portalsDefinitions() []definition { return []definition{knownPortals} }

func redisDefinitions() []definition { return []definition{redisUsed, redisMax} }
