-- Whether anything is known of a user: a budget (now or once), or an event.
SELECT EXISTS (SELECT FROM ledger.users WHERE user_id = %(user_id)s)
    OR EXISTS (SELECT FROM ledger.budgets WHERE user_id = %(user_id)s)
    OR EXISTS (SELECT FROM ledger.daily_totals WHERE user_id = %(user_id)s)
