"""Report over many runs: tables, figures and one self-contained page."""
