"""Alerts to people: routes, and delivery by email, Slack, Teams and signed webhooks. See the README beside this file."""
