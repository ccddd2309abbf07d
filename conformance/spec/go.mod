// Pins the specification whose chapters, schemas and examples the scripts here read, and the validator that comes with it.
module conformance/spec

go 1.19

require github.com/opencontainers/runtime-spec v1.3.0

require (
	github.com/xeipuuv/gojsonpointer v0.0.0-20190905194746-02993c407bfb // indirect
	github.com/xeipuuv/gojsonreference v0.0.0-20180127040603-bd5ef7bd5415 // indirect
	github.com/xeipuuv/gojsonschema v1.2.0 // indirect
)
