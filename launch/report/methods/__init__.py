"""What a paper says of how the runs were made: paragraphs and reporting checklists, filled from run files."""
