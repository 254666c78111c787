"""Parts that the report and the served page share: styles, charts, the relation explorer."""
