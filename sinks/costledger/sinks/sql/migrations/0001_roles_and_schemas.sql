-- Roles and schemas. Every migration can be run again: a crash between a migration and its mark repeats it.
--
-- Roles belong to the whole cluster, and another database's migration may make them at the same moment.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'costledger_owner') THEN
        CREATE ROLE costledger_owner NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'costledger_writer') THEN
        CREATE ROLE costledger_writer NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;

-- Can log in, but has no password until the operator gives it one (or trusts it in pg_hba.conf).
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'costledger_analyst') THEN
        CREATE ROLE costledger_analyst LOGIN;
        ALTER ROLE costledger_analyst SET statement_timeout = '60s';
        ALTER ROLE costledger_analyst SET default_transaction_read_only = on;
        ALTER ROLE costledger_analyst SET search_path = analyst;
        ALTER ROLE costledger_analyst SET timezone = 'UTC';
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;

-- Who migrates without being a superuser must be able to act as the owner and as the writer. From PostgreSQL 16 on a
-- role's creator may administer it, and act as it only after granting it to itself. Where the roles are another's,
-- that one must have granted them; if not, the next migration says so.
DO $$
BEGIN
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        EXECUTE format('GRANT costledger_owner, costledger_writer TO %I', current_user);
    END IF;
EXCEPTION WHEN insufficient_privilege THEN NULL;
END
$$;

CREATE SCHEMA IF NOT EXISTS ledger AUTHORIZATION costledger_owner;
CREATE SCHEMA IF NOT EXISTS analyst AUTHORIZATION costledger_owner;

COMMENT ON SCHEMA ledger IS 'What happened, every event once, and what is derived from it. Written by costledger alone.';
COMMENT ON SCHEMA analyst IS 'Documented read-only views on the ledger. Times are UTC, money is USD, exact to 1e-12.';

-- Nobody gets anything for being somebody.
REVOKE ALL ON SCHEMA public FROM PUBLIC;
DO $$
BEGIN
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
    -- The sink sorts out repeats in a temporary table.
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO costledger_writer', current_database());
END
$$;
