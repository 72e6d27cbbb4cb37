"""Neural networks beside a model of them whose learning can be solved."""
