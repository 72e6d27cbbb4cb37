"""Models of learning whose course can be foretold, each against its theory, in float64."""
