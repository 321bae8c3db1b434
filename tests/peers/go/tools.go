//go:build tools

// Package peers pins the services that the tests compare with. Building it by its own module,
// rather than by `go install ...@version`, needs no version list from the module proxy and
// verifies every download against go.sum.
package peers

import _ "github.com/prometheus/pushgateway"
