"""The time of one optimizer step: models, contenders, and how they are timed."""
