"""Which weights have seen which images: the graph of data, published weights, runs and searches."""
