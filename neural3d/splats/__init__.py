"""The splat model and how one camera sees it."""
