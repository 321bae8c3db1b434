"""What every forked server has already imported, and never looks for garbage in."""

import encodings.idna  # noqa: F401 - by the first look for an address
import gc

import pushgate.cli.pushgateway
import pushgate.server.run
import pushgate.server.storage.postgres  # noqa: F401

# A server collects all garbage before it starts, which would walk and so copy all of this.
gc.collect()
gc.freeze()
