// A string that does not print, as this package has always named it.

package portals

import "botfleet/bitrix"

// Secret is [bitrix.Secret].
type Secret = bitrix.Secret

// NewSecret hides s, as [bitrix.NewSecret] does.
func NewSecret(s string) Secret { return bitrix.NewSecret(s) }
