// The errors a portal answers with, and their statuses by dialect.

package sandbox

import "strings"

// Dialect chooses between the public documentation and the portal's published
// sources where the two differ.
type Dialect string

const (
	// Documented follows the public REST documentation: authorization errors
	// have their own statuses, TYPE H is kept, every call counts as operating
	// time, and calls inside a batch count as direct ones do.
	Documented Dialect = "D"
	// Published follows the portal's published sources: every authorization
	// error, OVERLOAD_LIMIT and plan refusals among them, is 401; TYPE H is
	// stored as B; only work over 0.1 s per HTTP request and method counts;
	// calls inside webhooks' batches fill one counter that all webhooks share.
	Published Dialect = "S"
)

// failure is an error answer.
type failure struct {
	status      int
	code        string
	description string
}

// known lists the documented errors: status by documentation, status by
// sources, text. From the public pages "Error codes", "imbot.register",
// "imbot.update" and "batch".
var known = map[string]struct {
	documented, published int
	text                  string
}{
	"ACCESS_DENIED":                  {403, 401, "REST API is available only on commercial plans."},
	"APPLICATION_NOT_FOUND":          {404, 401, "Application not found"},
	"APP_ID_ERROR":                   {400, 400, "Chat bot was installed by another rest application"},
	"AUTHORIZATION_ERROR":            {403, 401, "Unable to authorize user"},
	"BOT_ID_ERROR":                   {400, 400, "Bot not found"},
	"CODE_ERROR":                     {400, 400, "Bot code isn't specified"},
	"CONNECTION_ERROR":               {500, 401, "Error connecting to authorization server"},
	"ERROR_BATCH_LENGTH_EXCEEDED":    {400, 400, "Max batch length exceeded 50"},
	"ERROR_BATCH_METHOD_NOT_ALLOWED": {405, 400, "Method is not allowed for batch usage"},
	"ERROR_CORE":                     {500, 400, "Internal error"},
	"ERROR_METHOD_NOT_FOUND":         {404, 404, "Method not found!"},
	"ERROR_UNEXPECTED_ANSWER":        {500, 500, "Server returned an unexpected response"},
	"EVENT_BOT_DELETE_ERROR":         {400, 400, `Handler for "Bot delete" event isn't specified`},
	"EVENT_CONTEXT_GET_ERROR":        {400, 400, "Wrong handler URL"},
	"EVENT_MESSAGE_ADD_ERROR":        {400, 400, `Handler for "Message add" event isn't specified`},
	"EVENT_MESSAGE_DELETE_ERROR":     {400, 400, "Wrong handler URL"},
	"EVENT_MESSAGE_UPDATE_ERROR":     {400, 400, "Wrong handler URL"},
	"EVENT_WELCOME_MESSAGE_ERROR":    {400, 400, `Handler for "Welcome message" event isn't specified`},
	"EXPIRED_TOKEN":                  {401, 401, "The access token provided has expired."},
	"INSUFFICIENT_SCOPE":             {403, 401, "The request requires higher privileges than provided by the access token"},
	"INTERNAL_SERVER_ERROR":          {500, 500, "Internal server error"},
	"INVALID_CREDENTIALS":            {403, 401, "Invalid request credentials"},
	"INVALID_REQUEST":                {400, 400, "Https required."},
	"INVALID_TOKEN":                  {401, 401, "Unable to get application by token"},
	"MAX_COUNT_ERROR":                {400, 400, "Has reached the maximum number of bots for application (max: 5)"},
	"NAME_ERROR":                     {400, 400, "Bot name isn't specified"},
	"NO_AUTH_FOUND":                  {401, 401, "Wrong authorization data"},
	"OPERATION_TIME_LIMIT":           {429, 429, "Method is blocked due to operation time limit."},
	"OVERLOAD_LIMIT":                 {503, 401, "REST API is blocked due to overload."},
	"PAYMENT_REQUIRED":               {402, 401, "Payment required"},
	"PORTAL_DELETED":                 {403, 401, "Portal was deleted"},
	"QUERY_LIMIT_EXCEEDED":           {503, 503, "Too many requests"},
	"USER_ACCESS_ERROR":              {403, 401, "The user does not have access to the application."},
	"WRONG_AUTH_TYPE":                {403, 403, "Access for this method not allowed by session authorization."},
	"WRONG_REQUEST":                  {400, 400, "Bot can't be created"},
}

// fail makes the failure that a portal of this dialect gives for a code. The
// code is written as given: portals write some in lower case.
func (d Dialect) fail(code string) *failure {
	f := &failure{status: 400, code: code, description: "Unknown error"}
	k, ok := known[strings.ToUpper(code)]
	if !ok {
		return f
	}
	f.status, f.description = k.documented, k.text
	if d == Published {
		f.status = k.published
	}
	return f
}

// say gives a failure another text.
func (f *failure) say(text string) *failure {
	f.description = text
	return f
}

// Codes lists the error codes a [Fault] of kind [Refuse] knows the status and
// text of, in upper case and in no order. Others are answered with status 400.
func Codes() []string {
	out := make([]string, 0, len(known))
	for code := range known {
		out = append(out, code)
	}
	return out
}
