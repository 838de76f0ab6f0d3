// The fields a row may have, and how to find one by a name as people write it.

package rowfile

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// field is one value of a row.
type field struct {
	name string // as problems name it
	at   func(*Row) *string
}

// The first two are ours; the others are the parameters of imbot.register, by
// the method's public page. Problems use the method's own spelling.
const (
	fieldPortal = iota
	fieldID
	fieldCode
)

const (
	photoField    = "PROPERTIES.PERSONAL_PHOTO"
	properties    = "PROPERTIES"
	propertiesDot = "PROPERTIES."
)

var fields = []field{
	{"portal", func(r *Row) *string { return &r.Portal }},
	{"id", func(r *Row) *string { return &r.ID }},
	{"CODE", func(r *Row) *string { return &r.Bot.Code }},
	{"TYPE", func(r *Row) *string { return &r.Bot.Type }},
	{"OPENLINE", func(r *Row) *string { return &r.Bot.OpenLine }},
	{"EVENT_HANDLER", func(r *Row) *string { return &r.Bot.EventHandler }},
	{"EVENT_MESSAGE_ADD", func(r *Row) *string { return &r.Bot.EventMessageAdd }},
	{"EVENT_MESSAGE_UPDATE", func(r *Row) *string { return &r.Bot.EventMessageUpdate }},
	{"EVENT_MESSAGE_DELETE", func(r *Row) *string { return &r.Bot.EventMessageDelete }},
	{"EVENT_WELCOME_MESSAGE", func(r *Row) *string { return &r.Bot.EventWelcomeMessage }},
	{"EVENT_BOT_DELETE", func(r *Row) *string { return &r.Bot.EventBotDelete }},
	{"CLIENT_ID", func(r *Row) *string { return &r.Bot.ClientID }},
	{"PROPERTIES.NAME", func(r *Row) *string { return &r.Bot.Properties.Name }},
	{"PROPERTIES.LAST_NAME", func(r *Row) *string { return &r.Bot.Properties.LastName }},
	{"PROPERTIES.COLOR", func(r *Row) *string { return &r.Bot.Properties.Color }},
	{"PROPERTIES.EMAIL", func(r *Row) *string { return &r.Bot.Properties.Email }},
	{"PROPERTIES.PERSONAL_BIRTHDAY", func(r *Row) *string { return &r.Bot.Properties.PersonalBirthday }},
	{"PROPERTIES.WORK_POSITION", func(r *Row) *string { return &r.Bot.Properties.WorkPosition }},
	{"PROPERTIES.PERSONAL_WWW", func(r *Row) *string { return &r.Bot.Properties.PersonalWWW }},
	{"PROPERTIES.PERSONAL_GENDER", func(r *Row) *string { return &r.Bot.Properties.PersonalGender }},
	{photoField, func(r *Row) *string { return &r.Bot.Properties.PersonalPhoto }},
}

// Keys that an export of rows adds (see Writer). The number is the row's own; the
// others say what went wrong last time, and are passed over when the file comes
// back.
const (
	keyRow              = "row"
	keyClass            = "class"
	keyError            = "error"
	keyErrorCode        = "error.code"
	keyErrorDescription = "error.description"
)

// Results of lookup that are no index into fields.
const (
	unknown  = -1 - iota
	nested   // PROPERTIES itself
	passed   // a key of an export, to be passed over
	numbered // the row's number
)

var byName = names()

// names maps every accepted spelling, in upper and in lower case, to its field.
func names() map[string]int {
	m := make(map[string]int)
	add := func(name string, to int) {
		m[strings.ToUpper(name)] = to
		m[strings.ToLower(name)] = to
	}
	for i, f := range fields {
		add(f.name, i)
		if plain, ok := strings.CutPrefix(f.name, propertiesDot); ok {
			add(plain, i)
		}
	}
	add(properties, nested)
	add(keyRow, numbered)
	for _, key := range []string{keyClass, keyError, keyErrorCode, keyErrorDescription} {
		add(key, passed)
	}
	return m
}

// lookup finds the field that a key means. The map's two spellings serve the
// usual keys without an allocation.
func lookup(key []byte) int {
	if i, ok := byName[string(key)]; ok {
		return i
	}
	if i, ok := byName[strings.ToUpper(strings.TrimSpace(string(key)))]; ok {
		return i
	}
	return unknown
}

// lookupNested finds the field that a key inside PROPERTIES means.
func lookupNested(key []byte) int {
	i := lookup(key)
	if i < 0 || !strings.HasPrefix(fields[i].name, propertiesDot) {
		return unknown
	}
	return i
}

// unknownKey says that a key is none of ours, and which one was perhaps meant.
func unknownKey(key, within string) string {
	var best, part string
	least, parts := nearEdits(key)+1, 0
	for _, f := range fields {
		plain, isProperty := strings.CutPrefix(f.name, propertiesDot)
		if within != "" && !isProperty {
			continue
		}
		if d := distance(strings.ToUpper(key), strings.ToUpper(plain)); d < least {
			best, least = plain, d
		}
		if strings.Contains("_"+strings.ToUpper(plain)+"_", "_"+strings.ToUpper(key)+"_") {
			part = plain
			parts++
		}
	}
	if best == "" && parts == 1 { // such as Handler: of one name only
		best = part
	}
	if best == "" {
		return "unknown; no known name is near it"
	}
	return fmt.Sprintf("unknown; the nearest known name is %s", best)
}

// nearEdits is how many edits from a key a name may be and still have been meant.
func nearEdits(key string) int { return 1 + min(len(key), 64)/3 }

// distance counts the letters to add, drop or change to make b of a
// (Levenshtein). Keys are cut first: a key of a megabyte is nobody's typo.
func distance(a, b string) int {
	a = cut(a, 64)
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// cut shortens a text to at most n bytes, between characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// named is a key from the input, fit to stand in an error text.
func named(key string) string {
	if key == "" {
		return `""`
	}
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 || r >= 0x202a && r <= 0x202e {
			return utf8.RuneError
		}
		return r
	}, key)
	if short := cut(clean, 64); short != clean {
		return short + "…"
	}
	return clean
}
