"""Surgery: a plan and a dense network make a slim one, proven equal, saved without pickle."""

__all__ = ["SLIM_FILE", "Verification", "apply", "load_slim", "read_slim", "save_slim", "verify"]

from prunekit.surgery.apply import apply
from prunekit.surgery.store import SLIM_FILE, load_slim, read_slim, save_slim
from prunekit.surgery.verify import Verification, verify
