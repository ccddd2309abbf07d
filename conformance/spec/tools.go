//go:build tools

// Package spec names what go.mod pins; nothing of it is compiled here.
package spec

import _ "github.com/opencontainers/runtime-spec/schema"
