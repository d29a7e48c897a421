"""The `darkroom` command: thin; it calls flows and the library."""
