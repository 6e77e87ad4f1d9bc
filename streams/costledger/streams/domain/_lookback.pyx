# cython: language_level=3, boundscheck=False, wraparound=False
"""The compiled twin of what is in `lookback`: the same amounts in the same order."""


cdef object _spent_on(object hour, object service):
    cdef object total = 0
    for operation, amount in (<dict>hour.amounts).items():
        name = (<tuple>operation)[0]
        if name is service or name == service:
            total += amount
    return total


def costs_at(hours, service):
    """As `lookback.costs_at`."""
    return [0 if hour is None else _spent_on(hour, service) for hour in hours]


cdef int _note(dict costs, object service, object amount, Py_ssize_t costs_max) except -1:
    found = costs.get(service)
    if found is None:
        found = costs[service] = []
    cdef list known = <list>found
    if amount > 0 and len(known) < costs_max:
        known.append(amount)
    return 0


def latest_costs(days, Py_ssize_t costs_max):
    """As `lookback.latest_costs`."""
    cdef dict costs = {}, hours, amounts, spent
    for day in days:
        hours = day.hours
        for key in sorted(hours, reverse=True):
            amounts = hours[key].amounts
            if len(amounts) == 1:
                for operation, amount in amounts.items():
                    _note(costs, (<tuple>operation)[0], amount, costs_max)
                continue
            spent = {}
            for operation, amount in amounts.items():
                service = (<tuple>operation)[0]
                before = spent.get(service)
                spent[service] = amount if before is None else before + amount
            for service, amount in spent.items():
                _note(costs, service, amount, costs_max)
    return costs


def totals_between(days, start, end):
    """As `lookback.totals_between`."""
    cdef list totals = []
    for day in days:
        for key, hour in (<dict>day.hours).items():
            if start <= key < end:
                totals.append(hour.total)
    return totals


functions = (costs_at, latest_costs, totals_between)
