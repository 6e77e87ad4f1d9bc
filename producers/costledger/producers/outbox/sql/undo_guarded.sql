ROLLBACK TO SAVEPOINT costledger_outbox;
RELEASE SAVEPOINT costledger_outbox
