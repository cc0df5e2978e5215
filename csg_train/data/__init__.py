"""Image sets, demo data, transforms and the keyed loader."""
