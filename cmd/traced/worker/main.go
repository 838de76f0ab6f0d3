// Command worker is botfleet's worker with traces: it does the same, and tells a
// collector of it by OTLP over HTTP. The standard variables say where and how
// much: OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_HEADERS,
// OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER,
// OTEL_TRACES_SAMPLER_ARG, OTEL_BSP_…; OTEL_TRACES_EXPORTER=none ends it.
package main

import (
	"os"

	"botfleet/cmd/traced/internal/export"
	"botfleet/cmd/worker/command"
)

func main() { os.Exit(command.Main(command.Options{Tracing: export.As("botfleet-worker")})) }
