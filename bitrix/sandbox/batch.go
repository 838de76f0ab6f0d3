// The method batch and its quirks.

package sandbox

import (
	"regexp"
	"strings"
	"time"
)

// maxCommands is how many commands one batch may hold (public page of batch).
const maxCommands = 50

// batchRun is one batch in progress.
type batchRun struct {
	results, errors, times array
	spent                  time.Duration // by the calls inside
	dies                   *Fault        // the DieMidway that strikes this batch, if any
	share                  float64       // of the commands that run before it does, when it does not say
}

// runBatch runs the commands of a batch, each as a call of its own. Commands
// that are no strings are skipped without a word; errors inside never fail the
// batch.
func (c *call) runBatch() (any, *failure) {
	p := c.params.upperKeys()
	run := c.batch
	commands := p.child("CMD")
	if commands.len() > maxCommands && c.dialect() == Documented {
		return nil, c.dialect().fail("ERROR_BATCH_LENGTH_EXCEEDED")
	}
	halt := !phpEmpty(p.get("HALT"))
	for i := range run.reaches(commands.len()) {
		text, ok := commands.values[i].(string)
		if !ok {
			continue
		}
		f := c.command(run, i, commands.keys[i], text)
		if f != nil && halt {
			break
		}
	}
	out := &array{}
	out.set("result", &run.results)
	out.set("result_error", &run.errors)
	out.set("result_total", &array{})
	out.set("result_next", &array{})
	out.set("result_time", &run.times)
	return out, nil
}

// reaches is how many of n commands are run before the batch dies.
func (run *batchRun) reaches(n int) int {
	switch {
	case run.dies == nil || n == 0:
		return n
	case run.dies.Commands > 0:
		return min(n, run.dies.Commands)
	}
	return 1 + int(run.share*float64(n-1))
}

// command runs one command and files its answer under its key.
func (c *call) command(run *batchRun, i int, key, text string) *failure {
	inner := c.inner(run, text)
	var o outcome
	switch {
	case i >= maxCommands:
		o = inner.failed(c.dialect().fail("ERROR_BATCH_LENGTH_EXCEEDED"))
	case inner.method == "batch":
		o = inner.failed(c.dialect().fail("ERROR_BATCH_METHOD_NOT_ALLOWED"))
	default:
		o = inner.run()
	}
	if o.fail != nil {
		e := &array{}
		e.set("error", o.fail.code)
		e.set("error_description", o.fail.description)
		run.errors.set(key, e)
		return o.fail
	}
	run.spent += inner.cost
	run.results.set(key, o.result)
	run.times.set(key, o.span)
	return nil
}

// inner makes the call that a command describes: method?query, with earlier
// results filled in. It signs in as the batch does.
func (c *call) inner(run *batchRun, text string) *call {
	text, _, _ = strings.Cut(text, "#")
	name, query, _ := strings.Cut(text, "?")
	params := &array{}
	parseForm(query, params)
	run.substitute(params)
	return &call{st: c.st, method: methodName(name), params: params, signIn: c.signIn, batched: true, tally: c.tally}
}

// reference is $result[key][field] and deeper.
var reference = regexp.MustCompile(`\$result((?:\[[^\]]*\])+)`)

// substitute replaces references to results of earlier commands in every
// value. What is not there becomes an empty string.
func (run *batchRun) substitute(params *array) {
	for i, v := range params.values {
		switch v := v.(type) {
		case *array:
			run.substitute(v)
		case string:
			if strings.Contains(v, "$result[") {
				params.values[i] = reference.ReplaceAllStringFunc(v, run.resolve)
			}
		}
	}
}

func (run *batchRun) resolve(ref string) string {
	path := strings.Split(strings.TrimSuffix(ref[len("$result["):], "]"), "][")
	var v any = &run.results
	for _, key := range path {
		a, ok := v.(*array)
		if !ok {
			return ""
		}
		v = a.get(key)
	}
	switch v := v.(type) {
	case *array:
		return ""
	case int:
		return itoa(v)
	default:
		return phpString(v)
	}
}
