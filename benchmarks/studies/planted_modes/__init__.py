"""The causes of order: what makes a network learn one thing before another, by intervention."""
