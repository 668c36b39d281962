"""Report over many runs: run folders come in; tables, figures and one self-contained page go out."""
