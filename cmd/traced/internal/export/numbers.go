// The variables that are numbers, or true or false: the library takes its defaults
// for those that it cannot read, and some numbers break it.

package export

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// mostNumber bounds numbers: spans that wait, and milliseconds.
const mostNumber = 1_000_000

// checkNumbers looks at the numbers that the library reads with their blanks.
func checkNumbers(environ []string) error {
	var bad []error
	for _, name := range []string{
		"OTEL_BSP_SCHEDULE_DELAY", "OTEL_BSP_EXPORT_TIMEOUT", "OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
	} {
		bad = append(bad, checkNumber(name, last(environ, name)))
	}
	for _, name := range []string{
		"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT", "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
		"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_SPAN_EVENT_COUNT_LIMIT", "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
		"OTEL_SPAN_LINK_COUNT_LIMIT", "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
	} {
		if value := last(environ, name); value != "" {
			if _, err := strconv.Atoi(value); err != nil {
				bad = append(bad, fmt.Errorf("%s: needed is a whole number; below 0: no limit", name))
			}
		}
	}
	return errors.Join(bad...)
}

func checkNumber(name, value string) error {
	if value == "" {
		return nil
	}
	if n, err := strconv.Atoi(value); err != nil || n < 1 || n > mostNumber {
		return fmt.Errorf("%s: needed is a whole number from 1 to %d, without a unit", name, mostNumber)
	}
	return nil
}

func checkBool(name, value string) error {
	if value == "" || strings.EqualFold(value, "true") || strings.EqualFold(value, "false") {
		return nil
	}
	return fmt.Errorf("%s: needed is true or false", name)
}
