"""How fast the product is, beside the limits of its own servers, measured in one run: `make bench`."""
