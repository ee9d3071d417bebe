"""The rows behind an image: store, selection, drift, region, exported tables."""
