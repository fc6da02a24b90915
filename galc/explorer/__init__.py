"""The explorer of corruption matrices."""
