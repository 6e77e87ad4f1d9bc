"""What the stream decides: totals, budgets, spikes. Pure; knows neither Kafka, Faust nor Redis."""
