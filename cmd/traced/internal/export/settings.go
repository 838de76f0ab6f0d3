// The variables, as far as the libraries below do not read them, or say too much
// when they cannot.

package export

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

type settings struct {
	off     bool
	bare    bool // the collector is where the standard looks for it
	sampler sdktrace.Sampler
}

// read reads the variables and returns all that is wrong with them. It quotes no
// value that may be a credential.
func read(environ []string) (settings, error) {
	get := func(name string) string { return lookup(environ, name) }
	if err := checkBool("OTEL_SDK_DISABLED", get("OTEL_SDK_DISABLED")); err != nil {
		return settings{}, err
	}
	if strings.EqualFold(get("OTEL_SDK_DISABLED"), "true") {
		return settings{off: true}, nil
	}
	switch to := strings.ToLower(get("OTEL_TRACES_EXPORTER")); to {
	case "", "otlp":
	case "none":
		return settings{off: true}, nil
	default:
		return settings{}, fmt.Errorf("OTEL_TRACES_EXPORTER: needed is otlp or none, not %q", to)
	}
	var bad []error
	for _, name := range []string{"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"} {
		bad = append(bad, checkProtocol(name, get(name)))
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"} {
		bad = append(bad, checkEndpoint(name, get(name)))
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"} {
		bad = append(bad, checkHeaders(name, get(name)))
	}
	bad = append(bad, checkTransport(get, forAll), checkTransport(get, forTraces), checkNumbers(environ))
	s, err := sampler(get("OTEL_TRACES_SAMPLER"), get("OTEL_TRACES_SAMPLER_ARG"))
	return settings{bare: bare(get), sampler: s}, errors.Join(append(bad, err)...)
}

func checkProtocol(name, value string) error {
	switch value {
	case "", "http/protobuf", "http/json":
		return nil
	case "grpc":
		return fmt.Errorf("%s: grpc is not built in; needed is http/protobuf, which collectors take on port 4318", name)
	}
	return fmt.Errorf("%s: needed is http/protobuf or http/json", name)
}

func checkEndpoint(name, value string) error {
	if value == "" {
		return nil
	}
	u, err := url.Parse(value)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return fmt.Errorf("%s: needed is a URL like http://127.0.0.1:4318", name)
	case u.User != nil:
		return fmt.Errorf("%s: a user and a password have no effect here; put them into OTEL_EXPORTER_OTLP_HEADERS", name)
	}
	return nil
}

// headerName is what the library takes for a header's name.
var headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")

func checkHeaders(name, value string) error {
	if value == "" {
		return nil
	}
	for pair := range strings.SplitSeq(value, ",") {
		key, rest, ok := strings.Cut(pair, "=")
		if _, err := url.PathUnescape(rest); !ok || !headerName.MatchString(strings.TrimSpace(key)) || err != nil {
			return fmt.Errorf("%s: needed are pairs like name=value,name=value, with %%20 for a blank", name)
		}
	}
	return nil
}

// sampler is the sampler that the variables name, by the names of the standard.
func sampler(name, arg string) (sdktrace.Sampler, error) {
	base, parent := strings.CutPrefix(strings.ToLower(name), "parentbased_")
	var s sdktrace.Sampler
	switch base {
	case "", "always_on":
		s, parent = sdktrace.AlwaysSample(), parent || base == ""
	case "always_off":
		s = sdktrace.NeverSample()
	case "traceidratio":
		ratio, err := strconv.ParseFloat(arg, 64)
		if arg == "" {
			ratio, err = 1, nil
		}
		if err != nil || !(ratio >= 0 && ratio <= 1) {
			return nil, errors.New("OTEL_TRACES_SAMPLER_ARG: needed is a share from 0 to 1, like 0.01")
		}
		s = sdktrace.TraceIDRatioBased(ratio)
	default:
		return nil, errors.New("OTEL_TRACES_SAMPLER: needed is always_on, always_off, traceidratio, or one of these after parentbased_")
	}
	if parent {
		s = sdktrace.ParentBased(s)
	}
	return s, nil
}
