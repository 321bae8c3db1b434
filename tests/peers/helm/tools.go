//go:build tools

// Package peers pins Helm, which renders the chart in deploy/helm.
package peers

import _ "helm.sh/helm/v3/cmd/helm"
