// The scripts that answer the questions of a fleet: one for each question, of
// parts that they share.

package ratelimit

import (
	_ "embed"

	"github.com/redis/go-redis/v9"
)

//go:embed state.lua
var stateLua string

//go:embed rate.lua
var rateLua string

//go:embed budget.lua
var budgetLua string

//go:embed closure.lua
var closureLua string

//go:embed portal.lua
var portalLua string

//go:embed acquire.lua
var acquireLua string

//go:embed charge.lua
var chargeLua string

//go:embed hold.lua
var holdLua string

//go:embed line.lua
var lineLua string

//go:embed ask.lua
var askLua string

//go:embed observe.lua
var observeLua string

var (
	portalParts   = stateLua + rateLua + budgetLua + closureLua + portalLua
	acquireScript = redis.NewScript(portalParts + acquireLua)
	observeScript = redis.NewScript(portalParts + observeLua)
	chargeScript  = redis.NewScript(portalParts + chargeLua)
	holdScript    = redis.NewScript(portalParts + holdLua)
	lineScript    = redis.NewScript(portalParts + lineLua)
	askScript     = redis.NewScript(askLua)
)
