"""A model's surface: a mesh through what all its views show."""
