"""The methods room: one file per published method, the registry and the conformance kit."""
