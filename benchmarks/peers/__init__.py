"""One small file for each way to load radiographs.

``batches(pictures, **options)`` of each is an endless generator. It yields the number of images of a batch while it
holds that batch, as a training loop would, and ``EPOCH_STARTS`` before the first batch of an epoch where the library
has epochs.
"""
