"""Items in and out: image sources, preprocessing, loader workers, pictures."""
