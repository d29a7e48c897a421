"""Features: what an image is described by, by networks that others trained, so that images can be compared."""
