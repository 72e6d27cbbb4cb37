"""The open question 4.1: the order in which networks learn the parts of a linear map, from textbook to practice."""
