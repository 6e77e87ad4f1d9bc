-- After procrastinate's own SQL, as costledger_owner: what was applied, who may use it, and where its functions look.
CREATE TABLE IF NOT EXISTS jobs.schema_migrations (
    name       text PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON SCHEMA jobs IS 'The job queue: tables and functions of procrastinate. Work to be done, not a record of what happened.';
COMMENT ON TABLE jobs.schema_migrations IS 'Which migrations of procrastinate this schema has; the first one stands for all before it.';

-- Triggers and functions find their tables whatever the search path of the session is.
DO $$
DECLARE
    found regprocedure;
BEGIN
    FOR found IN SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'jobs'::regnamespace AND prokind = 'f' LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = jobs, pg_temp', found);
    END LOOP;
END
$$;

REVOKE ALL ON SCHEMA jobs FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA jobs FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA jobs FROM PUBLIC;
GRANT USAGE ON SCHEMA jobs TO costledger_writer;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA jobs TO costledger_writer;
REVOKE INSERT, UPDATE, DELETE ON jobs.schema_migrations FROM costledger_writer;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA jobs TO costledger_writer;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA jobs TO costledger_writer;
