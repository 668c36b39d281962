"""Commands about one trained run: score, verify, explain, export it and predict with it."""
