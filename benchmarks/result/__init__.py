"""From images to a result: first step, epochs and their parts."""
