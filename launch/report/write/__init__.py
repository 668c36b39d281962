"""Writers of the report: HTML, LaTeX, Markdown, model card."""
