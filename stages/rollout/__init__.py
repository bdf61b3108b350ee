"""Roll-out: plan how a new model replaces the old one phase by phase, and judge it by users' outcomes."""
