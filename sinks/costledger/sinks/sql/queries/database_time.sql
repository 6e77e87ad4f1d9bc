-- Now, by the database's clock.
SELECT now()
