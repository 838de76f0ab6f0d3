// From a portal's answer to what may be done about it.

package bitrix

import "strings"

// Classify says what may be done about an answer that is an error: by its
// code, in either case, and by the HTTP status only where the code is unknown.
//
// Portals give the same refusal different statuses. An unknown code with 5xx
// is Transient, with anything else Validation; status 0 is an error inside a
// batch, which has no status of its own and counts as 400, a portal's default.
//
// The codes of this package for answers without JSON are classified as well: a
// 4xx then comes from a server in front of the portal, which ran nothing; with
// any other status nothing says whether the call was run.
func Classify(status int, code, description string) Class {
	code = strings.ToUpper(code)
	switch code {
	case "QUERY_LIMIT_EXCEEDED", "OPERATION_TIME_LIMIT":
		return Limit
	case "EXPIRED_TOKEN", "INVALID_TOKEN":
		return Token
	case "ACCESS_DENIED":
		return classifyDenied(description)
	case "INVALID_CREDENTIALS", "NO_AUTH_FOUND", "INSUFFICIENT_SCOPE", "USER_ACCESS_ERROR",
		"AUTHORIZATION_ERROR", "APPLICATION_NOT_FOUND", "WRONG_AUTH_TYPE", "INVALID_REQUEST",
		"PORTAL_DELETED", "PAYMENT_REQUIRED", "INVALID_GRANT", "OVERLOAD_LIMIT",
		CodePortalMoved, CodeForbiddenEndpoint:
		return Blocked
	case "INTERNAL_SERVER_ERROR", "ERROR_UNEXPECTED_ANSWER", "CONNECTION_ERROR",
		CodeNotSent, CodeDNS, CodeRefused, CodeUnreachable, CodeTLS:
		return Transient
	case "CODE_ERROR", "NAME_ERROR", "MAX_COUNT_ERROR", "WRONG_REQUEST", "BOT_ID_ERROR", CodeBadCall:
		return Validation
	case "APP_ID_ERROR":
		return Conflict
	case CodeTimeout, CodeCancelled, CodeReset, CodeBadHTTP, CodeUnexpectedResult:
		return Ambiguous
	case CodeTruncated, CodeTooLarge:
		return classifyCut(status)
	case CodeEmpty, CodeNotJSON:
		return classifyWithoutJSON(status)
	}
	return classifyUnknown(status, code)
}

// classifyDenied tells a row without CLIENT_ID from a portal without REST:
// both are ACCESS_DENIED.
func classifyDenied(description string) Class {
	if strings.Contains(strings.ToLower(description), "client id not specified") {
		return Validation
	}
	return Blocked
}

func classifyUnknown(status int, code string) Class {
	switch {
	case strings.HasPrefix(code, "EVENT_") && strings.HasSuffix(code, "_ERROR"):
		return Validation
	case status >= 500:
		return Transient
	case status == 0 && code == "ERROR_CORE":
		// Inside a batch nothing tells its 5xx from its 4xx; a needless
		// repeat costs less than a row given up.
		return Transient
	}
	return Validation
}

// classifyCut is for answers whose end was lost, or not read. One with 4xx refused the call, so
// that nothing was run; which error it was, and whether the portal or a server in
// front said so, would have stood in what is missing: its status alone must not
// hold a portal (an expired token is a 401) or end a row.
func classifyCut(status int) Class {
	if status >= 400 && status < 500 && status != 429 {
		return Transient
	}
	return classifyWithoutJSON(status)
}

// classifyWithoutJSON reads the status of a server in front of the portal.
func classifyWithoutJSON(status int) Class {
	switch {
	case status < 400 || status >= 500:
		return Ambiguous
	case status == 429:
		return Limit
	case status == 408 || status == 425:
		// The server did not get the whole request, or did not want it yet.
		return Transient
	case status == 401, status == 402, status == 403, status == 404, status == 407,
		status == 410, status == 421, status == 451:
		// A firewall, another site, a portal that is gone: the same for every row.
		return Blocked
	}
	// 400, 413, 414, 422, 431 and the like are about this very request.
	return Validation
}
