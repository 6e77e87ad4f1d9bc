"""The dashboard in the browser: pages rendered here, charts as SVG, one small module of ours that keeps them current."""

from costledger.api.dashboard import actions, assets, events, login, operations, pages

#: The last one has a route for every other path.
routers = (login.router, pages.router, actions.router, events.router, operations.router, assets.router)

__all__ = ["routers"]
