"""Compare transfer methods on made-up data."""
