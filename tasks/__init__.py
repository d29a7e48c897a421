"""Tasks: one thin Prefect task per step."""
