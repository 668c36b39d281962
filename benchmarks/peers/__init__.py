"""One small file for each way to load radiographs.

``batches(pictures, **options)`` of each is an endless generator of batches, arrays or tensors with the images first.
A batch may be overwritten once the next one is asked for. ``EPOCH_STARTS`` comes before the first batch of an epoch
where the library has epochs.
"""
