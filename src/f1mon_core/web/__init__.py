"""Pages over a monitor: the dashboard as an ASGI application, and the report as one file. Extra `dashboard`."""

from f1mon_core import late

__getattr__ = late.names(
    __name__,
    create_app="f1mon_core.web.app",
    create_metrics_app="f1mon_core.web.scraped",
    report="f1mon_core.web.one_file",
)
