"""Progressive sharpening and the edge of stability."""
