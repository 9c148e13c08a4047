"""The version of this checkout, also when it is run without being installed."""

VERSION = "0.1.0"
