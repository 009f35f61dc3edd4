"""Surgery: a plan and a dense network make a slim one, proven equal, saved without pickle."""

__all__ = [
    "SLIM_FILE",
    "Exported",
    "Original",
    "Passthrough",
    "SlimFile",
    "Verification",
    "apply",
    "export",
    "file_in",
    "filled",
    "find_culprits",
    "load_slim",
    "open_slim",
    "prove",
    "read_slim",
    "save_slim",
    "verify",
]

from prunekit.surgery.apply import apply
from prunekit.surgery.culprits import find_culprits
from prunekit.surgery.export import Exported, export
from prunekit.surgery.original import Original
from prunekit.surgery.passthrough import Passthrough
from prunekit.surgery.store import (
    SLIM_FILE,
    SlimFile,
    file_in,
    filled,
    load_slim,
    open_slim,
    read_slim,
    save_slim,
)
from prunekit.surgery.verify import Verification, prove, verify
