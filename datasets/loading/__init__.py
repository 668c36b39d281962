"""Load batches of a beton: streamed, resident on the device, prefetched."""
