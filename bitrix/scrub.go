// Text that came from outside, made fit for an error: no credential, no
// control characters, bounded.

package bitrix

import (
	"cmp"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxDescription bounds an error's text, in characters.
	maxDescription = 300
	// maxErrorCode bounds a code that a portal made up, in characters.
	maxErrorCode = 80

	hidden = "[hidden]"
)

// clean puts text on one line: white space becomes single spaces; control
// characters, invisible format characters and broken UTF-8 go. It runs before
// secrets are sought, or a secret with such a character inside would be
// missed and then put together.
func clean(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case r == utf8.RuneError, unicode.IsControl(r), unicode.Is(unicode.Cf, r):
			return -1
		}
		return r
	}, text)
	return strings.Join(strings.Fields(text), " ")
}

// cut shortens text to at most n characters.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	count := 0
	for i := range text {
		if count == n-1 && utf8.RuneCountInString(text[i:]) > 1 {
			return text[:i] + "…"
		}
		count++
	}
	return text
}

// scrub cleans text and hides the credential's secret wherever it occurs,
// plain or URL-escaped.
func (a Access) scrub(text string, n int) string {
	if a.p == nil {
		return scrub(text, n, nil)
	}
	return scrub(text, n, secretForms(a.get().secret))
}

// scrub cleans text and hides every form in it; forms come longest first.
func scrub(text string, n int, forms []string) string {
	text = clean(text)
	for _, form := range forms {
		text = strings.ReplaceAll(text, form, hidden)
	}
	return cut(text, n)
}

// secretForms are the ways in which secrets may be written, longest first,
// so that no form leaves a part of a longer one behind.
func secretForms(secrets ...string) []string {
	var forms []string
	for _, secret := range secrets {
		for _, form := range []string{secret, url.QueryEscape(secret), url.PathEscape(secret)} {
			forms = append(forms, form, lowerEscapes(form))
		}
	}
	forms = slices.DeleteFunc(forms, func(form string) bool { return form == "" })
	slices.SortFunc(forms, func(x, y string) int { return cmp.Or(len(y)-len(x), strings.Compare(x, y)) })
	return slices.Compact(forms)
}

// lowerEscapes writes %2F as %2f.
func lowerEscapes(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			out.WriteString(strings.ToLower(s[i : i+3]))
			i += 2
			continue
		}
		out.WriteByte(s[i])
	}
	return out.String()
}
