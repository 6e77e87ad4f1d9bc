"""Knowing a cost before it is spent, and spending less: plans, estimates, processors, strategies."""
