"""One module for each group of routes; each has `router`. A route reads the request, asks a pure or SQL function, answers."""
