"""The DVC pipelines: stage entry points, tracking, and the ``bench`` command."""
