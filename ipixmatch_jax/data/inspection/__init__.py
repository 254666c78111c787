"""The checks of --mode inspect: findings, the report, and its page."""
