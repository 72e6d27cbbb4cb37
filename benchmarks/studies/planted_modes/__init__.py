"""Modes planted in images and a text, whose order of learning is set and read by intervention."""
