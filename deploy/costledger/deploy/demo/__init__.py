"""`costledger demo`: the whole system in a temporary directory, fed with the sample that is shipped."""
