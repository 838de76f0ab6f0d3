// Parameters as PHP holds them: ordered arrays of loosely typed values.

package sandbox

import (
	"encoding/json"
	"strconv"
)

// array is PHP's array: string keys in the order of their first appearance.
// Its values are string, json.Number, bool, nil and *array.
type array struct {
	keys   []string
	values []any
	index  map[string]int // only for long arrays; short ones are searched
	next   int            // key of the next value that is given none
}

// indexAbove is the length from which an array keeps an index: the parameters
// of one call stay below it, a hostile body does not.
const indexAbove = 32

func (a *array) find(key string) int {
	if a == nil {
		return -1
	}
	if a.index != nil {
		if i, ok := a.index[key]; ok {
			return i
		}
		return -1
	}
	for i, k := range a.keys {
		if k == key {
			return i
		}
	}
	return -1
}

func (a *array) get(key string) any {
	if i := a.find(key); i >= 0 {
		return a.values[i]
	}
	return nil
}

// text is the value under key as a string, "" when there is none.
func (a *array) text(key string) string { return phpString(a.get(key)) }

func (a *array) set(key string, value any) {
	if i := a.find(key); i >= 0 {
		a.values[i] = value
		return
	}
	a.keys = append(a.keys, key)
	a.values = append(a.values, value)
	if n, err := strconv.Atoi(key); err == nil && n >= a.next {
		a.next = n + 1
	}
	switch {
	case a.index != nil:
		a.index[key] = len(a.keys) - 1
	case len(a.keys) > indexAbove:
		a.index = make(map[string]int, 2*len(a.keys))
		for i, k := range a.keys {
			a.index[k] = i
		}
	}
}

func (a *array) add(value any) { a.set(strconv.Itoa(a.next), value) }

func (a *array) len() int {
	if a == nil {
		return 0
	}
	return len(a.keys)
}

// child returns the array under key, nil when the value is no array.
func (a *array) child(key string) *array {
	c, _ := a.get(key).(*array)
	return c
}

// upperKeys is array_change_key_case(…, CASE_UPPER): of keys that differ only
// in case the last one wins.
func (a *array) upperKeys() *array {
	out := &array{}
	for i, k := range a.keys {
		out.set(asciiUpper(k), a.values[i])
	}
	return out
}

func asciiUpper(s string) string {
	for i := 0; i < len(s); i++ {
		if s[i] >= 'a' && s[i] <= 'z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if b[i] >= 'a' && b[i] <= 'z' {
					b[i] -= 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

// phpString is PHP's conversion to string.
func phpString(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return string(v)
	case bool:
		if v {
			return "1"
		}
	case *array:
		return "Array"
	}
	return ""
}

// phpEmpty is PHP's empty(): "0" is empty too.
func phpEmpty(v any) bool {
	switch v := v.(type) {
	case string:
		return v == "" || v == "0"
	case json.Number:
		f, err := v.Float64()
		return err == nil && f == 0
	case bool:
		return !v
	case *array:
		return v.len() == 0
	}
	return true
}
