"""The durability mode `outbox`: an event is a row in the caller's own PostgreSQL transaction, relayed to Kafka.

What touches PostgreSQL needs psycopg 3 (`pip install 'costledger[outbox]'`); importing this package does not.
"""
