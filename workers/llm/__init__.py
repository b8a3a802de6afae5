"""Language model calls: the one place that reaches an endpoint."""
