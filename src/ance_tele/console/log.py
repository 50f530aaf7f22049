"""The package's log."""

import logging

log = logging.getLogger("ance_tele")
