//go:build tools

// Package tools pins helm-unittest, which needs a replacement in its go.mod and so
// cannot be had by "go install".
package tools

import _ "github.com/helm-unittest/helm-unittest/cmd/helm-unittest"
