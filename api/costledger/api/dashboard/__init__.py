"""The dashboard in the browser: pages rendered here, charts as SVG, one small module of ours that keeps them current."""

from costledger.api.dashboard import actions, assets, events, login, operations, pages

#: Order matters nowhere: no two routes have the same path.
routers = (login.router, pages.router, actions.router, events.router, operations.router, assets.router)

__all__ = ["routers"]
